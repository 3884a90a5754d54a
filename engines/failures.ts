import type { ErrorCode, Failure } from '../spec/errors.ts';
import type { ContainerEnd } from './engine.ts';

interface FailureRule {
  code: ErrorCode;
  pattern: RegExp;
  /** What it means and what to do; the engine's own line follows it. */
  meaning: string;
  /** A number the engine printed that makes the advice exact; null when this line has none. */
  advise?: (line: string) => string | null;
}

/**
 * What engines and their libraries write before they give up, most telling first: the first rule that matches a line of
 * the log wins. The wrapper lines that follow every cause ("Engine core initialization failed", "exiting due to model
 * loading error") are left out on purpose.
 */
export const FAILURE_RULES: readonly FailureRule[] = [
  {
    code: 'HUB_GATED',
    pattern:
      /gated repo|GatedRepo|403 Client Error.*(huggingface|hf\.co)|HTTP status client error \(403|Access to model .* is restricted/i,
    meaning: 'The model is gated. Accept its licence on the Hub and give a token that has access.',
  },
  {
    code: 'HUB_AUTH',
    pattern: /Invalid credentials in Authorization header/i,
    meaning: 'The Hub token is wrong or has expired. Give a valid one.',
  },
  {
    code: 'HUB_NOT_FOUND',
    pattern:
      /401 Client Error.*(huggingface|hf\.co)|HTTP status client error \(40[14]|RepositoryNotFound|Repository Not Found|404 Client Error.*(huggingface|hf\.co)|not a valid model identifier/i,
    meaning:
      'The repository does not exist, is private or is gated. Check its name and give a token that may read it.',
  },
  {
    code: 'HUB_REVISION',
    pattern: /RevisionNotFound|Revision Not Found|Invalid rev id/i,
    meaning: 'The repository has no such revision. Check model.revision.',
  },
  {
    code: 'FILE_MISSING',
    pattern:
      /EntryNotFound|failed to open GGUF file|config\.json(['"`]? (was )?not found|.*No such file)|tokenizer\.json(['"`]?) not found|Cannot find any model weights|\/repository\S*.*No such file or directory|No such file or directory.*\/repository/i,
    meaning: 'A file the engine needs is not in the repository.',
  },
  {
    code: 'NO_USABLE_FILE',
    pattern:
      /invalid magic characters|model is corrupted or incomplete|invalid ggml type|failed to read magic|key not found in model/i,
    meaning: 'The model file is damaged, or of a format this engine cannot read. Choose another file.',
  },
  {
    code: 'UNSUPPORTED_ARCH',
    pattern:
      /are not supported for now|unknown model architecture|Model is not supported|failed to be inspected|Failed to parse `?config\.json|does not recognize this architecture/i,
    meaning:
      'This engine image does not know the architecture of the model. Use a newer image or another engine.',
  },
  {
    code: 'BAD_ARGS',
    // A sentence about it: engines also print it among all their settings at every start.
    pattern:
      /\b(pass|set|setting|argument|option|requires?)\b.{0,60}trust_remote_code|contains custom code which must be executed/i,
    meaning: 'The model brings code of its own, which is not run unless model.args allow it explicitly.',
  },
  {
    code: 'BAD_ARGS',
    pattern:
      /unrecognized arguments|No such option|unexpected argument|ArgumentValidation|error: invalid argument|error while handling (argument|environment variable)|error: argument |error: the argument|error: invalid value|error: the following required arguments/i,
    meaning: 'The engine refused its arguments. Correct model.args, model.env or the image settings.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /KV cache is needed, which is larger/i,
    meaning: 'The context does not fit. Use the length the engine prints as the greatest possible, or less.',
    advise: (line) => {
      const [, longest] = /estimated maximum model length is (\d+)/i.exec(line) ?? [];
      return longest === undefined
        ? null
        : `The context does not fit into what the weights leave. Set --max-model-len ${longest} or less in model.args, or take a larger instance.`;
    },
  },
  {
    code: 'BAD_ARGS',
    pattern: /max_model_len \(\d+\) is greater than the derived/i,
    meaning: 'The context asked for is longer than the model was made for. Ask for less, or leave it out.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /must be divisible by (the )?(tensor parallel|num_shard|tp_size|world size)/i,
    meaning:
      'The model cannot be split over so many GPUs: they must divide its attention heads. Set another tensorParallelSize, or take an instance with another number of GPUs.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /`?--pooling`? arg is not set|Splade pooling is not supported/i,
    meaning: 'The model does not say how to pool, or cannot pool so. Set model.image.tei.pooling.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /maximum input length is .*exceeds .*--max-batch-tokens/i,
    meaning:
      'One longest input does not fit into a batch. Raise model.image.tei.maxBatchTokens, or leave it out.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /exec \S+ failed: |executable file not found/i,
    meaning: 'The command cannot be run in this image. Correct model.command, or leave it out.',
  },
  {
    code: 'GPU_BUSY',
    pattern: /Free memory on device|less than desired GPU memory utilization/i,
    meaning:
      'Another process holds the memory of the GPU. Free the GPU, or lower --gpu-memory-utilization in model.args.',
  },
  {
    code: 'GPU_LOST',
    pattern:
      /fallen off the bus|GPU is lost|uncorrectable ECC error|NVRM: Xid \([^)]*\): (?:48|74|79|95|119|120|140)\b|Unable to determine the device handle for GPU|GPU requires reset/i,
    meaning:
      'A GPU of the host has failed. It gets no new replica until the agent of that host starts again; reset it, or restart the host.',
  },
  {
    code: 'GPU_OOM',
    pattern:
      /CUDA out of memory|OutOfMemoryError|cudaMalloc failed|unable to allocate CUDA\d* buffer|failed to allocate buffer for kv cache|Not enough memory|No available memory for the cache blocks/i,
    meaning:
      'The model does not fit into memory. Take a larger instance, a shorter context or smaller weights.',
  },
  {
    code: 'NO_GPU',
    pattern:
      /could not select device driver|nvidia-smi'? command not found|Failed to infer device type|NotEnoughCUDADevices|no CUDA-capable device|CUDA driver version is insufficient|NVIDIA driver on your system is too old|is only supported on Cuda devices/i,
    meaning:
      'The container sees no usable GPU. Check the driver and the NVIDIA Container Toolkit of the host.',
  },
  {
    code: 'UNSUPPORTED_ARCH',
    pattern: /not compatible with compile time compute cap|cuda compute cap|no kernel image is available/i,
    meaning: 'The image was not built for this GPU. Choose the image variant that was.',
  },
  {
    code: 'BAD_ARGS',
    pattern: /bfloat16 is only supported|DType \S+ is not supported/i,
    meaning: 'The hardware cannot compute in this number format. Set the dtype to float16.',
  },
  {
    code: 'NCCL_SHM',
    pattern:
      /NCCL error|ncclCommInitRank|unhandled system error|bus error|insufficient shared memory|creating shared memory segment|unable to (allocate|write to file|mmap|open) .*<\/torch_|\/dev\/shm.*No space left|No space left.*\/dev\/shm/i,
    meaning:
      'The processes of the engine could not exchange data: its shared memory did not suffice, or its GPUs do not reach each other. Take an instance with more memory, or fewer GPUs.',
  },
  {
    code: 'HOST_OOM',
    pattern: /signaled to shutdown with signal 9|Workload evicted|std::bad_alloc|Cannot allocate memory/i,
    meaning:
      'The container ran out of memory. Take an instance with more memory, or a smaller model or context.',
  },
  {
    code: 'DISK_FULL',
    pattern: /No space left on device|Disk quota exceeded/i,
    meaning: "The host's disk is full. Free space or add some.",
  },
  {
    code: 'CPU_ISA',
    pattern: /Illegal instruction/i,
    meaning: "The image needs a newer CPU than the host's.",
  },
  {
    code: 'PORT_IN_USE',
    pattern: /address already in use|couldn't bind HTTP server socket/i,
    meaning: 'The port inside the container is taken.',
  },
  {
    code: 'HUB_UNREACHABLE',
    pattern:
      /Temporary failure in name resolution|Could not resolve host|(429|5\d\d) (Client|Server) Error|HTTP status (client|server) error \((429|5\d\d)|(huggingface\.co|hf\.co).*(Read timed out|Connection reset|Max retries exceeded)/i,
    meaning: 'The engine could not download something it asked for.',
  },
];

/**
 * Says why a container ended: by what it logged, else by how it ended. `engine` is the display name in the sentence. The
 * log tail is passed on as it is, so secrets must be out of it before.
 */
export function classifyEnd(engine: string, end: ContainerEnd): Failure {
  const { code, message } = findCause(engine, end);
  return { code, message, exitCode: end.exitCode, ...(end.logTail ? { logTail: end.logTail } : {}) };
}

function findCause(engine: string, end: ContainerEnd): Pick<Failure, 'code' | 'message'> {
  // The kernel's word is beyond doubt, and the log of a killed process ends anywhere.
  if (end.oomKilled) {
    return {
      code: 'HOST_OOM',
      message: `${engine} was killed because it used more memory than its instance has. Take an instance with more memory, or a smaller model or context.`,
    };
  }
  return causeIn(engine, end.logTail) ?? byExitCode(engine, end);
}

/** The cause that a log names in one of the ways we know, with the engine's line; null when it names none. */
export function causeIn(engine: string, log: string): Pick<Failure, 'code' | 'message'> | null {
  const lines = log.split('\n');
  for (const rule of FAILURE_RULES) {
    const line = lines.find((text) => rule.pattern.test(text));
    if (line) {
      const meaning = rule.advise?.(line) ?? rule.meaning;
      return { code: rule.code, message: `${engine}: ${meaning} It said: ${sentence(line)}` };
    }
  }
  return null;
}

/** An exception's line in a Python traceback, or the error a Rust program ends with. */
const COMPLAINT = /(^|\s)((\w+\.)*\w*(Error|Exception)|Error): \S/;
/** What the processes around the one that failed say of it. */
const WRAPPER =
  /Engine core initialization failed|EngineDeadError|EngineGenerateError|See (root cause|stack trace) above|(Shard|Webserver)(CannotStart|Failed)/i;

/** The first error a log names, with the root of it in Rust's chain of causes: later ones follow from it. Null when there is none. */
export function complaintIn(log: string): string | null {
  const lines = log.split('\n');
  const at = lines.findIndex((text) => COMPLAINT.test(text) && !WRAPPER.test(text));
  if (at < 0) return null;
  const root = rootCause(lines.slice(at + 1));
  return sentence(root === null ? (lines[at] ?? '') : `${lines[at]}, caused by: ${root}`);
}

/** The last of the indented lines below "Caused by:", which stands right after an error of a program in Rust. */
function rootCause(after: readonly string[]): string | null {
  const at = after.findIndex((text) => text.trim() !== '');
  if (after[at]?.trim() !== 'Caused by:') return null;
  const below = after.slice(at + 1);
  const end = below.findIndex((text) => !/^\s+\S/.test(text));
  const chain = end < 0 ? below : below.slice(0, end);
  return chain.at(-1)?.replace(/^\s+(\d+: )?/, '') ?? null;
}

function byExitCode(engine: string, { exitCode, logTail }: ContainerEnd): Pick<Failure, 'code' | 'message'> {
  const last = logTail.trimEnd().split('\n').at(-1);
  const complaint = complaintIn(logTail);
  const said = complaint
    ? ` It said: ${complaint}`
    : last
      ? ` Its last line: ${sentence(last)}`
      : ' It logged nothing.';
  switch (exitCode) {
    case 0:
      return {
        code: 'CONTAINER_EXITED',
        message: `${engine} ended by itself with exit code 0; a server must keep running. Check model.command and model.args.${said}`,
      };
    case 2:
    case 126:
    case 127:
      return {
        code: 'BAD_ARGS',
        message: `${engine} could not be started as asked (exit code ${exitCode}). Check model.command and model.args.${said}`,
      };
    case 132:
      return {
        code: 'CPU_ISA',
        message: `${engine} used an instruction that the host's CPU does not have (exit code 132). Use an image built for older CPUs, or a newer host.${said}`,
      };
    case 137:
      return {
        code: 'UNKNOWN',
        message: `${engine} was killed from outside (exit code 137, SIGKILL): by hand, or by the host when it ran short of memory.${said}`,
      };
    case 143:
      return {
        code: 'UNKNOWN',
        message: `${engine} was stopped from outside (exit code 143, SIGTERM).${said}`,
      };
    default:
      return { code: 'UNKNOWN', message: `${engine} ended with exit code ${exitCode}.${said}` };
  }
}

/** Longest piece of an engine's line that goes into a message; the whole line is in the log tail. */
const MAX_SENTENCE = 300;

/** An engine's log line without its process, time stamp, level and padding. */
function sentence(line: string): string {
  const text = line
    .replace(/^\d+(?:\.\d+){3} [A-Z] /, '')
    .replace(/^\(\w+ pid=\d+\) /, '')
    .replace(/^(ERROR|WARNING|INFO) \d\d-\d\d [\d:]+ \[[^\]]*\] /, '')
    .replace(/\s+/g, ' ')
    .trim();
  return text.length > MAX_SENTENCE ? `${text.slice(0, MAX_SENTENCE)}…` : text;
}

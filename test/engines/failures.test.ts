import assert from 'node:assert/strict';
import { classifyEnd, complaintIn, FAILURE_RULES } from '../../engines/failures.ts';
import { ERRORS, type ErrorCode } from '../../spec/errors.ts';

/** Ends of logs in the shape engines write them, and what each is to be called. */
const LOGS: [string, ErrorCode, string][] = [
  [
    'gated',
    'HUB_GATED',
    'OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/x/y.',
  ],
  [
    'forbidden',
    'HUB_GATED',
    '403 Client Error: Forbidden for url: https://huggingface.co/x/y/resolve/main/config.json',
  ],
  [
    'bad token',
    'HUB_AUTH',
    'huggingface_hub.errors.HfHubHTTPError: Invalid credentials in Authorization header',
  ],
  [
    'unauthorized',
    'HUB_NOT_FOUND',
    '401 Client Error: Unauthorized for url: https://huggingface.co/api/models/x/y',
  ],
  [
    'no repository',
    'HUB_NOT_FOUND',
    'OSError: x/y is not a local folder and is not a valid model identifier listed on',
  ],
  ['no revision', 'HUB_REVISION', 'huggingface_hub.errors.RevisionNotFoundError: 404'],
  [
    'no file',
    'FILE_MISSING',
    [
      "0.00.041.953 E gguf_init_from_file: failed to open GGUF file '/repository/nope.gguf' (No such file or directory)",
      '0.00.042.353 E llama_model_load_from_file_impl: failed to load model',
      '0.00.043.191 E srv  llama_server: exiting due to model loading error',
    ].join('\n'),
  ],
  ['no config', 'FILE_MISSING', "OSError: Can't load '/repository': config.json: No such file or directory"],
  ['no weights', 'FILE_MISSING', 'RuntimeError: Cannot find any model weights with `/repository`'],
  [
    'damaged file',
    'NO_USABLE_FILE',
    "0.00.024.931 E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete",
  ],
  [
    'foreign file',
    'NO_USABLE_FILE',
    "0.00.026.501 E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",
  ],
  ['foreign quantisation', 'NO_USABLE_FILE', 'gguf_init_from_file: tensor has invalid ggml type 140 (NONE)'],
  [
    'missing key',
    'NO_USABLE_FILE',
    'llama_model_load: error loading model: key not found in model: qwen2.context_length',
  ],
  [
    'architecture',
    'UNSUPPORTED_ARCH',
    "llama_model_load: error loading model: unknown model architecture: 'newarch'",
  ],
  [
    'architecture behind a wrapper',
    'UNSUPPORTED_ARCH',
    "ValueError: Model architectures ['FooForCausalLM'] are not supported for now.\nRuntimeError: Engine core initialization failed. See root cause above.",
  ],
  [
    'code of its own',
    'BAD_ARGS',
    'ValueError: Please pass the argument `trust_remote_code=True` to allow custom code',
  ],
  ['unknown flag', 'BAD_ARGS', 'error: invalid argument: --bogus'],
  ['bad value', 'BAD_ARGS', 'error while handling argument "--ctx-size": stoi\n\nusage:'],
  ['argparse', 'BAD_ARGS', 'api_server.py: error: unrecognized arguments: --bogus'],
  ['click', 'BAD_ARGS', '╭─ Error ─╮\n│ No such option: --bogus │\n╰─────────╯'],
  ['clap', 'BAD_ARGS', "error: unexpected argument '--bogus' found"],
  [
    'context',
    'BAD_ARGS',
    'ValueError: 16.0 GiB KV cache is needed, which is larger than the available KV cache memory',
  ],
  ['no command', 'BAD_ARGS', '[FATAL tini (7)] exec nosuch failed: No such file or directory'],
  ['CUDA memory', 'GPU_OOM', 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB'],
  [
    'cudaMalloc',
    'GPU_OOM',
    'ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9.0 MiB on device 0: cudaMalloc failed: out of memory',
  ],
  ['KV cache', 'GPU_OOM', 'llama_init_from_model: failed to allocate buffer for kv cache'],
  [
    'busy GPU',
    'GPU_BUSY',
    'ValueError: Free memory on device (1.2/22 GiB) on startup is less than desired GPU memory utilization',
  ],
  ['no driver', 'NO_GPU', 'RuntimeError: No CUDA GPUs: no CUDA-capable device is detected'],
  [
    'wrong image',
    'UNSUPPORTED_ARCH',
    'Runtime compute cap 75 is not compatible with compile time compute cap 80',
  ],
  [
    'dtype',
    'BAD_ARGS',
    'ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.',
  ],
  ['shared memory', 'NCCL_SHM', 'RuntimeError: NCCL error: unhandled system error'],
  ['allocation', 'HOST_OOM', "terminate called after throwing an instance of 'std::bad_alloc'"],
  ['disk', 'DISK_FULL', 'OSError: [Errno 28] No space left on device'],
  ['CPU', 'CPU_ISA', 'Illegal instruction (core dumped)'],
  ['port', 'PORT_IN_USE', '[Errno 98] error while attempting to bind: address already in use'],
  ['network', 'HUB_UNREACHABLE', 'socket.gaierror: [Errno -3] Temporary failure in name resolution'],
  // Other wordings of the same
  ['gated, by its class', 'HUB_GATED', 'huggingface_hub.errors.GatedRepoError: 401 Client Error.'],
  [
    'gated, not asked for',
    'HUB_GATED',
    'Access to model x/y is restricted and you are not in the authorized list.',
  ],
  ['no repository, by its class', 'HUB_NOT_FOUND', 'huggingface_hub.errors.RepositoryNotFoundError: 401'],
  [
    'no repository, as a sentence',
    'HUB_NOT_FOUND',
    'Repository Not Found for url: https://huggingface.co/api/models/x/y.',
  ],
  [
    'no repository, by status',
    'HUB_NOT_FOUND',
    'requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://huggingface.co/x/y/resolve/main/z',
  ],
  [
    'no revision, as a sentence',
    'HUB_REVISION',
    'Revision Not Found for url: https://huggingface.co/api/models/x/y/revision/v9.',
  ],
  ['no revision, by its name', 'HUB_REVISION', 'Invalid rev id: v9'],
  ['no entry', 'FILE_MISSING', 'huggingface_hub.errors.EntryNotFoundError: 404'],
  ['no path', 'FILE_MISSING', 'cannot open: No such file or directory: /repository/tokenizer.model'],
  ['cut-off file', 'NO_USABLE_FILE', 'gguf_init_from_file: failed to read magic'],
  ['clap: excluded', 'BAD_ARGS', "error: the argument '--sharded <SHARDED>' cannot be used multiple times"],
  ['clap: missing', 'BAD_ARGS', 'error: the following required arguments were not provided:'],
  ['no program', 'BAD_ARGS', 'exec: "nosuch": executable file not found in $PATH'],
  ['CUDA buffer', 'GPU_OOM', 'llama_model_load: error loading model: unable to allocate CUDA0 buffer'],
  [
    'kernel: off the bus',
    'GPU_LOST',
    'NVRM: Xid (PCI:0000:0b:00): 79, pid=2815, name=python3, GPU has fallen off the bus.',
  ],
  [
    'nvidia-smi: lost',
    'GPU_LOST',
    'Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.  Reboot the system to recover this GPU',
  ],
  [
    'memory errors',
    'GPU_LOST',
    'RuntimeError: CUDA error: uncorrectable ECC error encountered\nNVRM: Xid (PCI:0000:3b:00): 48, pid=1204, An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer at partition 4',
  ],
  ['nvidia-smi: reset', 'GPU_LOST', 'GPU 00000000:65:00.0: GPU requires reset'],
  ['no toolkit', 'NO_GPU', 'could not select device driver "nvidia" with capabilities: [[gpu]]'],
  [
    'driver behind the runtime',
    'NO_GPU',
    'CUDA error: CUDA driver version is insufficient for CUDA runtime version',
  ],
  [
    'no kernel',
    'UNSUPPORTED_ARCH',
    'RuntimeError: CUDA error: no kernel image is available for execution on the device',
  ],
  ['bus error', 'NCCL_SHM', 'Fatal Python error: Bus error'],
  [
    'data loaders',
    'NCCL_SHM',
    'ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).',
  ],
  [
    'tensors passed between processes',
    'NCCL_SHM',
    'RuntimeError: unable to write to file </torch_412_3>: No space left on device (28)',
  ],
  [
    'a full /dev/shm, which is no disk',
    'NCCL_SHM',
    "OSError: [Errno 28] No space left on device: '/dev/shm/sem.mp-1'",
  ],
  ['eviction', 'HOST_OOM', 'Workload evicted, storage limit exceeded (100Gi)'],
  ['host memory', 'HOST_OOM', 'OSError: [Errno 12] Cannot allocate memory'],
  ['quota of the disk', 'DISK_FULL', 'OSError: [Errno 122] Disk quota exceeded'],
  [
    'llama.cpp: port',
    'PORT_IN_USE',
    "start: couldn't bind HTTP server socket, hostname: 0.0.0.0, port: 8080",
  ],
  ['resolver', 'HUB_UNREACHABLE', 'curl: (6) Could not resolve host: huggingface.co'],
  [
    'Hub too busy',
    'HUB_UNREACHABLE',
    '429 Client Error: Too Many Requests for url: https://huggingface.co/x',
  ],
  [
    'Hub too slow',
    'HUB_UNREACHABLE',
    "HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out. (read timeout=10)",
  ],
  // vLLM
  [
    'vLLM: context, with the longest that fits',
    'BAD_ARGS',
    "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (4.10 GiB). Based on the available memory, the estimated maximum model length is 33584.\nRuntimeError: Engine core initialization failed. See root cause above.",
  ],
  [
    'vLLM: nothing left for the cache',
    'GPU_OOM',
    'ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.',
  ],
  [
    'vLLM: broken architecture',
    'UNSUPPORTED_ARCH',
    "ValueError: Model architectures ['FooModel'] failed to be inspected.",
  ],
  [
    'vLLM: unknown to Transformers',
    'UNSUPPORTED_ARCH',
    'ValueError: The checkpoint has model type `foo` but Transformers does not recognize this architecture.',
  ],
  [
    'vLLM: no device',
    'NO_GPU',
    'RuntimeError: Failed to infer device type, please set VLLM_LOGGING_LEVEL=DEBUG',
  ],
  [
    'vLLM: old driver',
    'NO_GPU',
    'RuntimeError: The NVIDIA driver on your system is too old (found version 12020).',
  ],
  [
    'vLLM: heads',
    'BAD_ARGS',
    'ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).',
  ],
  [
    'vLLM: beyond the model',
    'BAD_ARGS',
    'ValueError: User-specified max_model_len (99999) is greater than the derived max_model_len (max_position_embeddings=2048)',
  ],
  [
    'vLLM: communication',
    'NCCL_SHM',
    'RuntimeError: NCCL error in: ncclCommInitRank, unhandled system error\ntorch.distributed.DistBackendError',
  ],
  [
    'vLLM: shared memory',
    'NCCL_SHM',
    'Error while creating shared memory segment /dev/shm/nccl-x (size 9637888), error: No space left on device (28)',
  ],
  ['vLLM: bad value', 'BAD_ARGS', "vllm serve: error: argument --max-num-seqs: invalid int value: 'x'"],
  // SGLang
  [
    'SGLang: no room beside the weights, under a dump of all settings',
    'GPU_OOM',
    "server_args=ServerArgs(model_path='/repository', trust_remote_code=False, port=30000)\nRuntimeError: Not enough memory. Please try to increase --mem-fraction-static.\nScheduler hit an exception: Traceback (most recent call last):",
  ],
  [
    'SGLang: memory',
    'GPU_OOM',
    'Scheduler hit an exception: Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.',
  ],
  [
    'SGLang: code of its own',
    'BAD_ARGS',
    'The repository /repository contains custom code which must be executed to correctly load the model.',
  ],
  // TGI
  [
    'TGI: host memory',
    'HOST_OOM',
    'ERROR text_generation_launcher: Shard process was signaled to shutdown with signal 9 rank=0\nError: ShardCannotStart',
  ],
  [
    'TGI: token limits',
    'GPU_OOM',
    'RuntimeError: Not enough memory to handle `max_total_tokens=32768`. You need to decrease it.\nError: ShardCannotStart',
  ],
  ['TGI: GPUs', 'NO_GPU', 'Error: NotEnoughCUDADevices("`sharded` is true but only found 1 CUDA devices")'],
  [
    'TGI: limits that contradict',
    'BAD_ARGS',
    'Error: ArgumentValidation("`max_input_tokens` must be < `max_total_tokens`")',
  ],
  [
    'TGI: gated',
    'HUB_GATED',
    'Download encountered an error:\nCannot access gated repo for url https://huggingface.co/x/y\nError: DownloadError',
  ],
  ['TGI: bad value', 'BAD_ARGS', "error: invalid value 'x' for '--quantize <QUANTIZE>'"],
  // TEI
  [
    'TEI: no tokenizer',
    'FILE_MISSING',
    'Error: tokenizer.json not found. text-embeddings-inference only supports fast tokenizers',
  ],
  ['TEI: no config', 'FILE_MISSING', 'Error: `config.json` not found'],
  [
    'TEI: unknown type',
    'UNSUPPORTED_ARCH',
    'Error: Failed to parse `config.json`\n\nCaused by:\n    unknown variant `foo`',
  ],
  [
    'TEI: model',
    'UNSUPPORTED_ARCH',
    'Error: Could not create backend\n\nCaused by:\n    Could not start backend: Model is not supported',
  ],
  [
    'TEI: pooling not known',
    'BAD_ARGS',
    'Error: The `--pooling` arg is not set and we could not find a pooling configuration (`1_Pooling/config.json`) for this model.',
  ],
  [
    'TEI: pooling not possible',
    'BAD_ARGS',
    'Error: Splade pooling is not supported: model is not a ForMaskedLM model',
  ],
  ['TEI: build for another GPU', 'UNSUPPORTED_ARCH', 'Error: cuda compute cap 70 is not supported'],
  ['TEI: dtype', 'BAD_ARGS', 'Error: DType bfloat16 is not supported'],
  [
    'TEI: GPU only',
    'NO_GPU',
    'Caused by:\n    GTE is only supported on Cuda devices in fp16 with flash attention v2 enabled',
  ],
  [
    'TEI: batch',
    'BAD_ARGS',
    'Error: The maximum input length is 8192, which exceeds `--max-batch-tokens` 4096',
  ],
  ['TEI: no GPU', 'NO_GPU', "Error: 'nvidia-smi' command not found."],
  [
    'TEI: unauthorized',
    'HUB_NOT_FOUND',
    'Error: Could not download model artifacts\n\nCaused by:\n    request error: HTTP status client error (401 Unauthorized) for url (https://huggingface.co/x/y)',
  ],
  [
    'TEI: forbidden',
    'HUB_GATED',
    'HTTP status client error (403 Forbidden) for url (https://huggingface.co/x/y)',
  ],
  [
    'TEI: overloaded Hub',
    'HUB_UNREACHABLE',
    'HTTP status server error (503 Service Unavailable) for url (https://huggingface.co/x/y)',
  ],
];

const end = (logTail: string, exitCode = 1, oomKilled = false) => ({ exitCode, oomKilled, logTail });

describe('why a container ended', () => {
  for (const [name, code, logTail] of LOGS) {
    it(`log: ${name} is ${code}`, () => {
      const failure = classifyEnd('llama.cpp', end(logTail));
      assert.equal(failure.code, code, failure.message);
      assert.equal(failure.logTail, logTail);
      assert.equal(failure.exitCode, 1);
    });
  }

  it('has an example of every rule', () => {
    for (const rule of FAILURE_RULES) {
      const used = LOGS.some(([, , log]) => {
        const lines = log.split('\n');
        return FAILURE_RULES.find((r) => lines.some((line) => r.pattern.test(line))) === rule;
      });
      assert.ok(used, String(rule.pattern));
    }
  });

  it('has an example of every wording of every rule', () => {
    const lines = LOGS.flatMap(([, , log]) => log.split('\n'));
    const missing = FAILURE_RULES.flatMap(({ pattern }) =>
      wordings(pattern.source).filter(
        (wording) => !lines.some((line) => new RegExp(wording, 'i').test(line)),
      ),
    );
    assert.deepEqual(missing, []);
  });

  it("repeats the engine's own sentence without its time stamp", () => {
    const { message } = classifyEnd('llama.cpp', end('0.00.041.953 E gguf: failed to open GGUF file   x'));
    assert.match(message, /It said: gguf: failed to open GGUF file x$/);
  });

  it('turns the length that would fit into advice', () => {
    const log =
      'ValueError: 16.0 GiB KV cache is needed, which is larger than the available KV cache memory (4.1 GiB). Based on the available memory, the estimated maximum model length is 33584.';
    assert.match(classifyEnd('vLLM', end(log)).message, /Set --max-model-len 33584 or less/);
  });

  it('does not take a setting among all settings for a complaint', () => {
    const log = "args: {'trust_remote_code': True}\nServerArgs(trust_remote_code=False)\nbroken";
    assert.equal(classifyEnd('SGLang', end(log)).code, 'UNKNOWN');
  });

  const codes: [number, ErrorCode, RegExp][] = [
    [0, 'CONTAINER_EXITED', /ended by itself with exit code 0/],
    [2, 'BAD_ARGS', /could not be started as asked/],
    [126, 'BAD_ARGS', /exit code 126/],
    [127, 'BAD_ARGS', /exit code 127/],
    [132, 'CPU_ISA', /instruction/],
    [137, 'UNKNOWN', /SIGKILL/],
    [139, 'UNKNOWN', /exit code 139/],
    [143, 'UNKNOWN', /SIGTERM/],
    [1, 'UNKNOWN', /Its last line: something odd$/],
  ];
  for (const [exitCode, code, message] of codes) {
    it(`exit code ${exitCode} of an unknown log is ${code}`, () => {
      const failure = classifyEnd('llama.cpp', end('first\nsomething odd\n', exitCode));
      assert.equal(failure.code, code);
      assert.match(failure.message, message);
      assert.equal(failure.logTail, 'first\nsomething odd\n');
    });
  }

  it("takes the kernel's word for a lack of memory over the log", () => {
    assert.equal(classifyEnd('llama.cpp', end('CUDA out of memory', 137, true)).code, 'HOST_OOM');
  });

  describe('an error that no rule knows', () => {
    const log = [
      '(EngineCore_DP0 pid=20) ERROR 11-26 05:00:01 [core.py:843] EngineCore encountered a fatal error.',
      '(EngineCore_DP0 pid=20) ERROR 11-26 05:00:01 [core.py:843] Traceback (most recent call last):',
      '(EngineCore_DP0 pid=20) ERROR 11-26 05:00:01 [core.py:843] RuntimeError: Invalid CPU attention head_dim: 16',
      '(APIServer pid=7) ERROR 11-26 05:00:02 [async_llm.py:525] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.',
      'RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}',
    ].join('\n');

    it('is repeated as the engine said it first, without process, time and place', () => {
      assert.equal(complaintIn(log), 'RuntimeError: Invalid CPU attention head_dim: 16');
      const { code, message } = classifyEnd('vLLM', end(log));
      assert.equal(code, 'UNKNOWN');
      assert.match(message, /It said: RuntimeError: Invalid CPU attention head_dim: 16$/);
    });

    it('in Rust is the line that follows "Error:"', () => {
      assert.equal(complaintIn('INFO starting\nError: Could not start\n'), 'Error: Could not start');
    });

    it('in Rust comes with the root of its causes', () => {
      const chain =
        'Error: Could not create backend\n\nCaused by:\n    0: Could not start backend\n    1: no such device\n';
      assert.equal(complaintIn(chain), 'Error: Could not create backend, caused by: no such device');
      assert.equal(
        complaintIn('Error: Could not load\n\nCaused by:\n    a broken tensor\nINFO bye\n  late'),
        'Error: Could not load, caused by: a broken tensor',
      );
      assert.equal(complaintIn('Error: Could not load\n\nCaused by:\n'), 'Error: Could not load');
    });

    it('is none where nothing complains', () => {
      for (const quiet of ['', 'all is well', 'errors: 0', 'Error: ShardCannotStart'])
        assert.equal(complaintIn(quiet), null, quiet);
    });
  });

  it('what passes by itself is tried again, what does not is final', () => {
    const again = new Set(LOGS.map(([, code]) => code).filter((code) => ERRORS[code].retryable));
    assert.deepEqual([...again].sort(), ['GPU_LOST', 'HUB_UNREACHABLE', 'PORT_IN_USE']);
  });

  it('says so when nothing was logged', () => {
    const failure = classifyEnd('The container', end(''));
    assert.match(failure.message, /It logged nothing\.$/);
    assert.equal('logTail' in failure, false);
  });
});

/** The alternatives of a pattern that are not inside a group. */
function wordings(source: string): string[] {
  const found = [''];
  let depth = 0;
  for (const part of source.match(/\\.|\[(?:\\.|[^\]])*\]|./g) ?? []) {
    if (part === '(') depth += 1;
    if (part === ')') depth -= 1;
    if (part === '|' && depth === 0) found.push('');
    else found.push(`${found.pop()}${part}`);
  }
  return found;
}

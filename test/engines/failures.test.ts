import assert from 'node:assert/strict';
import { classifyEnd, FAILURE_RULES } from '../../engines/failures.ts';
import type { ErrorCode } from '../../spec/errors.ts';

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
    'GPU_OOM',
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
  ['shared memory', 'HOST_OOM', 'RuntimeError: NCCL error: unhandled system error'],
  ['allocation', 'HOST_OOM', "terminate called after throwing an instance of 'std::bad_alloc'"],
  ['disk', 'DISK_FULL', 'OSError: [Errno 28] No space left on device'],
  ['CPU', 'CPU_ISA', 'Illegal instruction (core dumped)'],
  ['port', 'PORT_IN_USE', '[Errno 98] error while attempting to bind: address already in use'],
  ['network', 'HUB_UNREACHABLE', 'socket.gaierror: [Errno -3] Temporary failure in name resolution'],
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

  it("repeats the engine's own sentence without its time stamp", () => {
    const { message } = classifyEnd('llama.cpp', end('0.00.041.953 E gguf: failed to open GGUF file   x'));
    assert.match(message, /It said: gguf: failed to open GGUF file x$/);
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

  it('says so when nothing was logged', () => {
    const failure = classifyEnd('The container', end(''));
    assert.match(failure.message, /It logged nothing\.$/);
    assert.equal('logTail' in failure, false);
  });
});

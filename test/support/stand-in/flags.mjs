/**
 * The documented flags of each engine, `name:value` or a bare name for one without a value. A server that meets any other
 * ends at once, with the words of its own parser of arguments.
 */
const words = (text) => text.trim().split(/\s+/);

export const FLAGS = {
  tgi: words(`
    --port:v -p:v --hostname:v --model-id:v --revision:v --trust-remote-code --huggingface-hub-cache:v
    --weights-cache-override:v --tokenizer-config-path:v --sharded:v --num-shard:v --master-addr:v --master-port:v
    --shard-uds-path:v --dtype:v --quantize:v --kv-cache-dtype:v --max-input-tokens:v --max-input-length:v
    --max-total-tokens:v --max-batch-prefill-tokens:v --max-batch-total-tokens:v --max-batch-size:v
    --max-concurrent-requests:v --max-waiting-tokens:v --waiting-served-ratio:v --max-best-of:v --max-stop-sequences:v
    --max-top-n-tokens:v --max-client-batch-size:v --payload-limit:v --cuda-memory-fraction:v --cuda-graphs:v
    --speculate:v --lora-adapters:v --disable-grammar-support --disable-custom-kernels --rope-scaling:v
    --rope-factor:v --enable-prefill-logprobs --api-key:v --cors-allow-origin:v --json-output --otlp-endpoint:v
    --prometheus-port:v --usage-stats:v --graceful-termination-timeout:v -g:v`),
  tei: words(`
    --model-id:v --revision:v --served-model-name:v --huggingface-hub-cache:v --hf-token:v --dense-path:v --dtype:v
    --tokenization-workers:v --pooling:v --max-concurrent-requests:v --max-batch-tokens:v --max-batch-requests:v
    --max-client-batch-size:v --auto-truncate --payload-limit:v --default-prompt-name:v --default-prompt:v --port:v
    -p:v --hostname:v --uds-path:v --api-key:v --json-output --disable-spans --otlp-endpoint:v --otlp-service-name:v
    --prometheus-port:v --cors-allow-origin:v`),
  infinity: words(`
    --model-id:v --served-model-name:v --batch-size:v --revision:v --trust-remote-code --no-trust-remote-code
    --redirect-slash:v --engine:v --model-warmup --no-model-warmup --vector-disk-cache --no-vector-disk-cache --device:v
    --device-id:v --lengths-via-tokenize --no-lengths-via-tokenize --dtype:v --embedding-dtype:v --pooling-method:v
    --compile --no-compile --bettertransformer --no-bettertransformer --preload-only --no-preload-only --host:v
    --port:v --url-prefix:v --proxy-root-path:v --log-level:v --permissive-cors --no-permissive-cors --api-key:v`),
  sglang: words(`
    --host:v --port:v --api-key:v --admin-api-key:v --model-path:v --model:v --revision:v --tokenizer-path:v
    --served-model-name:v --trust-remote-code --load-format:v --download-dir:v --json-model-override-args:v
    --is-embedding --sampling-defaults:v --config:v --dtype:v --quantization:v --kv-cache-dtype:v
    --tensor-parallel-size:v --tp-size:v --tp:v --pp-size:v --data-parallel-size:v --dp-size:v --nnodes:v
    --node-rank:v --dist-init-addr:v --context-length:v --max-running-requests:v --max-queued-requests:v
    --max-total-tokens:v --chunked-prefill-size:v --max-prefill-tokens:v --schedule-policy:v --page-size:v
    --mem-fraction-static:v --chat-template:v --tool-call-parser:v --reasoning-parser:v --enable-lora --lora-paths:v
    --max-loras-per-batch:v --max-lora-rank:v --speculative-algorithm:v --speculative-draft-model-path:v
    --speculative-num-steps:v --speculative-eagle-topk:v --speculative-num-draft-tokens:v --enable-metrics
    --watchdog-timeout:v --skip-server-warmup --log-level:v --device:v --disable-overlap-schedule`),
};

/** Parses as clap and argparse do; ends the process as they do. */
export function parseArguments(engine, args) {
  const known = new Map(FLAGS[engine].map((flag) => [flag.replace(/:v$/, ''), flag.endsWith(':v')]));
  const given = {};
  for (let i = 0; i < args.length; i += 1) {
    const [name, inline] = args[i].split(/=(.*)/s);
    if (!known.has(name)) refuse(engine, name);
    given[name] = known.get(name) ? (inline ?? args[++i]) : 'true';
  }
  return given;
}

function refuse(engine, argument) {
  if (engine === 'sglang')
    console.error(
      `usage: launch_server.py [-h] --model-path MODEL_PATH\nlaunch_server.py: error: unrecognized arguments: ${argument}`,
    );
  else if (engine === 'infinity')
    console.error(
      `Usage: infinity_emb v2 [OPTIONS]\n╭─ Error ─╮\n│ No such option: ${argument} │\n╰─────────╯`,
    );
  else console.error(`error: unexpected argument '${argument}' found\n\nFor more information, try '--help'.`);
  process.exit(2);
}

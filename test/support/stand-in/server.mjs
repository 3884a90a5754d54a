import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArguments } from './flags.mjs';
import { exposition } from './metrics.mjs';

/**
 * A stand-in for the servers of TGI, TEI, SGLang and Infinity where their images cannot be had. It computes nothing; what it
 * imitates is what the platform meets: arguments and variables, the order of things at the start, health, metrics, key, and
 * what SIGTERM does. Started as `server.mjs <engine> <arguments…>`.
 */
const [engine, ...rest] = process.argv.slice(2);
const LOADING_MS = 1200;
const TOKEN_MS = 20;

// SGLang's images have no entrypoint: the whole command is given. Infinity's is told which of its commands is meant.
const args =
  { sglang: rest.slice(rest.indexOf('sglang.launch_server') + 1), infinity: rest.slice(1) }[engine] ?? rest;
const flags = parseArguments(engine, args);
/** A flag, else its variable (all but SGLang have one for each). */
const setting = (name) => {
  const variable = name.toUpperCase().replaceAll('-', '_');
  if (engine === 'sglang') return flags[`--${name}`];
  return flags[`--${name}`] ?? process.env[engine === 'infinity' ? `INFINITY_${variable}` : variable];
};

const folder = setting(engine === 'sglang' ? 'model-path' : 'model-id');
const port = Number(setting('port') ?? { sglang: 30_000, infinity: 7997 }[engine] ?? 3000);
const host =
  setting(['sglang', 'infinity'].includes(engine) ? 'host' : 'hostname') ??
  (engine === 'sglang' ? '127.0.0.1' : '0.0.0.0');
const key = setting('api-key');
const model = setting('served-model-name') ?? folder;
const counts = {
  accepted: 0,
  running: 0,
  waiting: 0,
  succeeded: 0,
  failed: 0,
  read: 0,
  written: 0,
  seconds: 0,
};
let state = 'loading';

checkModel();
log({
  tgi: 'Starting check and download process',
  tei: `Args { model_id: "${folder}" }`,
  infinity: 'Creating 1engines',
  sglang: 'Load weight begin.',
});
process.on('SIGTERM', stop);
const server = createServer(answer);
// SGLang listens before its warm-up and says so; the others listen when they can work.
if (engine !== 'sglang') await sleep(LOADING_MS);
server.listen(port, host);
if (engine === 'sglang') await sleep(LOADING_MS);
if (state === 'loading') state = 'ready';
log({
  tgi: 'Connected',
  tei: 'Ready',
  infinity: 'Application startup complete.',
  sglang: 'The server is fired up and ready to roll!',
});

function checkModel() {
  const files = folder && existsSync(folder) ? readdirSync(folder) : [];
  if (!files.includes('config.json'))
    die({
      tgi: 'Error: DownloadError',
      tei: 'Error: `config.json` not found',
      infinity: `OSError: ${folder} does not appear to have a file named config.json: No such file or directory`,
      sglang: `OSError: ${folder} is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'`,
    });
  if (engine === 'tgi' && process.env.QUANTIZE && (flags['--dtype'] ?? process.env.DTYPE))
    die({ tgi: 'Error: ArgumentValidation("Only one of `dtype` and `quantize` can be set")' });
  if (engine === 'tei' && !files.includes('tokenizer.json'))
    die({ tei: 'Error: tokenizer.json not found. text-embeddings-inference only supports fast tokenizers' });
}

function die(sentences) {
  console.error(sentences[engine]);
  process.exit(1);
}

function log(sentences) {
  console.log(sentences[engine]);
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://x');
  const json = (status, body, headers = {}) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  if (['/health', '/health_generate', '/ping'].includes(pathname)) {
    if (state === 'ready') response.end();
    else json(503, {});
    return;
  }
  if (pathname === '/metrics') {
    if (engine === 'sglang' && flags['--enable-metrics'] === undefined) json(404, { detail: 'Not Found' });
    else response.writeHead(200, { 'content-type': 'text/plain' }).end(exposition(engine, counts, model));
    return;
  }
  if (key && request.headers.authorization !== `Bearer ${key}`) {
    json(401, {});
    return;
  }
  if (state === 'loading') {
    json(503, { error: 'not ready' });
    return;
  }
  if (pathname === '/info' || pathname === '/get_model_info') {
    json(200, { model_id: folder, served_model_name: model });
    return;
  }
  await infer(request, response, pathname, json);
}

const GENERATES = {
  tgi: ['/generate', '/generate_stream', '/v1/completions', '/v1/chat/completions'],
  sglang: ['/generate', '/v1/completions', '/v1/chat/completions'],
  tei: [],
  infinity: [],
};
const EMBEDS = {
  tgi: [],
  tei: ['/embed', '/v1/embeddings', '/rerank', '/predict'],
  sglang: flags['--is-embedding'] ? ['/v1/embeddings'] : [],
  infinity: ['/embeddings', '/rerank', '/classify'],
};

async function infer(request, response, pathname, json) {
  const generates = GENERATES[engine].includes(pathname);
  if (request.method !== 'POST' || !(generates || EMBEDS[engine].includes(pathname))) {
    json(404, { error: 'Not Found' });
    return;
  }
  const body = await readJson(request);
  const input = body && (body.inputs ?? body.prompt ?? body.input ?? body.query ?? body.messages);
  counts.accepted += 1;
  if (input === undefined || input === null) {
    counts.failed += 1;
    json(422, { error: 'Input validation error: `inputs` cannot be empty', error_type: 'validation' });
    return;
  }
  const began = performance.now();
  counts.running += 1;
  try {
    if (generates) await generate(response, pathname, body, json);
    else json(200, embedding(pathname));
    counts.succeeded += 1;
    counts.read += 5;
    counts.seconds += (performance.now() - began) / 1000;
  } finally {
    counts.running -= 1;
  }
}

async function generate(response, pathname, body, json) {
  const tokens = body.parameters?.max_new_tokens ?? body.max_tokens ?? 16;
  const streams = body.stream === true || pathname === '/generate_stream';
  if (streams) response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let i = 0; i < tokens; i += 1) {
    await sleep(TOKEN_MS);
    counts.written += 1;
    if (streams) response.write(`data: ${JSON.stringify(chunk(pathname, 'tok ', null))}\n\n`);
  }
  if (streams) response.end('data: [DONE]\n\n');
  else if (pathname === '/generate') json(200, { generated_text: 'tok '.repeat(tokens) });
  else json(200, { model, choices: [chunk(pathname, 'tok '.repeat(tokens), 'length').choices[0]] });
}

function chunk(pathname, content, finish_reason) {
  if (pathname === '/v1/completions') return { model, choices: [{ index: 0, text: content, finish_reason }] };
  if (pathname.startsWith('/generate')) return { token: { text: content }, choices: [] };
  const part = finish_reason ? 'message' : 'delta';
  return { model, choices: [{ index: 0, [part]: { role: 'assistant', content }, finish_reason }] };
}

function embedding(pathname) {
  const vector = [0.25, 0.5, -0.5];
  if (pathname === '/embed') return [vector];
  if (pathname === '/rerank') return [{ index: 0, score: 0.5 }];
  if (pathname === '/predict') return [{ label: 'LABEL_0', score: 0.5 }];
  return { object: 'list', model, data: [{ object: 'embedding', index: 0, embedding: vector }] };
}

async function readJson(request) {
  const chunks = [];
  for await (const part of request) chunks.push(part);
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return null;
  }
}

/** TGI and TEI stop listening, let running requests end, exit 0. SGLang notices late, drains, then kills its own tree. */
async function stop() {
  if (state === 'loading') process.kill(process.pid, 'SIGKILL');
  state = 'stopping';
  if (engine === 'sglang') {
    await sleep(1500);
    console.log(`Gracefully exiting... Remaining number of requests ${counts.running}`);
    while (counts.running > 0) await sleep(100);
    process.kill(process.pid, 'SIGKILL');
  }
  console.log('signal received, starting graceful shutdown');
  server.close();
  server.closeIdleConnections();
  while (counts.running > 0) await sleep(50);
  server.closeAllConnections();
  process.exit(0);
}

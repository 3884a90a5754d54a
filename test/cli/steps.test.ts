import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { curlExample, sampleEndpoint } from '../../cli/up/sample-steps.ts';
import { runSteps, type Step } from '../../cli/up/step.ts';
import { loadPlatformConfig } from '../../runtime/config.ts';
import { endpointCreate } from '../../spec/endpoint.ts';

describe('cli: steps', () => {
  const ran: string[] = [];
  beforeEach(() => {
    ran.length = 0;
  });

  const step = (title: string, more: { optional?: boolean; error?: Error } = {}): Step => ({
    title,
    ...(more.optional ? { optional: true } : {}),
    run: async () => {
      ran.push(title);
      await setTimeout(2);
      if (more.error) throw more.error;
      return 'came';
    },
  });

  it('run one after the other, and say what came and how long it took', async () => {
    const printed = await printedBy(() => runSteps([step('one'), step('two')]));
    assert.deepEqual(ran, ['one', 'two']);
    assert.match(printed, /✔ one: came \[\d+\.\ds\]\n/);
    assert.match(printed, /✔ two: came \[\d+\.\ds\]\n/);
  });

  it('end at the first that fails', async () => {
    const error = new Error('no engine');
    await printedBy(() => assert.rejects(runSteps([step('one', { error }), step('two')]), error));
    assert.deepEqual(ran, ['one']);
  });

  it('go on after an optional one that fails, and say why it did', async () => {
    const error = new Error('no sample');
    const printed = await printedBy(() => runSteps([step('one', { optional: true, error }), step('two')]));
    assert.deepEqual(ran, ['one', 'two']);
    assert.match(printed, /✖ one \[FAILED: no sample\]/);
  });
});

/** Both streams of this process while `act` runs, without colours. */
async function printedBy(act: () => Promise<void>): Promise<string> {
  let printed = '';
  const streams = [process.stdout, process.stderr];
  const writes = streams.map((stream) => stream.write);
  for (const stream of streams) {
    stream.write = (chunk: string | Uint8Array) => {
      printed += String(chunk);
      return true;
    };
  }
  try {
    await act();
  } finally {
    for (const [index, stream] of streams.entries()) stream.write = writes[index] ?? stream.write;
  }
  return stripVTControlCharacters(printed);
}

describe('cli: sample endpoint', () => {
  it('is what the API accepts, on hardware the catalogue has', () => {
    const platform = loadPlatformConfig({});
    const wanted = sampleEndpoint({ platform });
    assert.deepEqual(endpointCreate.parse(wanted), wanted);
    assert.equal(wanted.compute?.scaling?.minReplica, 1);
  });

  it('comes with a command that shows no token', () => {
    assert.match(
      curlExample('http://gateway/local/smollm2', '.data/connection.json'),
      /curl http:\/\/gateway\/local\/smollm2\/v1\//,
    );
    assert.doesNotMatch(curlExample('http://gateway', '.data/connection.json'), /hf_/);
  });
});

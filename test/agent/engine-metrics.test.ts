import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { llamacpp } from '../../engines/llamacpp.ts';
import type { MetricMap } from '../../engines/metrics/map.ts';
import { EngineMetricsReader, scrape } from '../../worker/agent/engine-metrics.ts';
import { needDocker, TestHost } from '../support/docker.ts';
import { eventually } from '../support/eventually.ts';

const MAP: MetricMap = { running: 'requests_now' };

describe('agent: metrics of engines', () => {
  it('reads what real llama.cpp has counted, and puts nothing that is not there', async function () {
    await needDocker(this);
    const host = await TestHost.open();
    try {
      const { plan, address } = await host.serve();
      const answer = await fetch(`${address}/v1/completions`, {
        method: 'POST',
        headers: { authorization: 'Bearer engine-key-of-the-test', 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'Once upon a time', max_tokens: 5, ignore_eos: true }),
      });
      assert.equal(answer.status, 200);
      const { usage } = (await answer.json()) as {
        usage: { prompt_tokens: number; completion_tokens: number };
      };
      assert.equal(usage.completion_tokens, 5);
      const reader = new EngineMetricsReader(host.docker, host.records);
      const read = await eventually('the answer is counted', async () => {
        const [found] = await reader.look();
        return (found?.metrics.values.generatedTokens ?? 0) >= 6 && found;
      });
      assert.equal(read.replicaId, plan.replicaId);
      const { values, times } = read.metrics;
      // One token before service, by the first inference.
      assert.equal(values.generatedTokens, 6);
      assert.ok((values.promptTokens ?? 0) >= usage.prompt_tokens, JSON.stringify(values));
      assert.deepEqual([values.running, values.waiting], [0, 0]);
      assert.equal('ttft' in times, false);
    } finally {
      await host.close();
    }
  });

  const answers: [string, RequestListener, unknown][] = [
    ['metrics', (_q, r) => r.end('requests_now 3\n'), { values: { running: 3 }, times: {} }],
    ['a page', (_q, r) => r.end('<html>requests_now 3</html>'), { values: {}, times: {} }],
    ['nothing at all', (_q, r) => r.end(), { values: {}, times: {} }],
    ['bytes that are no text', (_q, r) => r.end(Buffer.alloc(100_000, 0xff)), { values: {}, times: {} }],
    ['a refusal', (_q, r) => r.writeHead(401).end('requests_now 3\n'), null],
    ['an end in the middle', (_q, r) => r.write('requests_now 3\n', () => r.destroy()), null],
    [
      'far too much',
      (_q, r) => {
        const more = () => {
          while (!r.destroyed && r.write('requests_now 3\n'.repeat(5000)));
          r.once('drain', more);
        };
        more();
      },
      null,
    ],
  ];
  for (const [what, listener, expected] of answers) {
    it(`takes ${what} without harm`, async () => {
      const server = await listen(listener);
      try {
        const { port } = server.address() as AddressInfo;
        assert.deepEqual(await scrape(`http://127.0.0.1:${port}`, 'k', MAP), expected);
      } finally {
        server.closeAllConnections();
        server.close();
      }
    });
  }

  it('sends the key of the replica', async () => {
    let seen: string | undefined;
    const server = await listen((request, response) => {
      seen = request.headers.authorization;
      response.end();
    });
    const { port } = server.address() as AddressInfo;
    await scrape(`http://127.0.0.1:${port}`, 'key-of-it', llamacpp.metrics ?? {});
    server.close();
    assert.equal(seen, 'Bearer key-of-it');
  });

  it('has nothing to say of an engine that does not answer', async () => {
    assert.equal(await scrape('http://127.0.0.1:1', null, MAP), null);
  });
});

async function listen(listener: RequestListener): Promise<Server> {
  const server = createServer(listener);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

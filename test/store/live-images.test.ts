import assert from 'node:assert/strict';
import { sql } from 'kysely';
import { beginReplica, pinImage, releaseReplica } from '../../store/lifecycle.ts';
import { liveImages } from '../../store/live-images.ts';
import { createBody, type TestApi, testApi } from '../api/support.ts';

describe('store: images that endpoints may start again', () => {
  let api: TestApi;
  let endpointId: string;
  const URL = 'ghcr.io/ggml-org/llama.cpp:server';

  before(async () => {
    api = await testApi();
    assert.equal((await api.call('POST', '/v2/endpoint/alice', createBody('live'))).status, 200);
    const row = await api.store.selectFrom('endpoints').select('id').executeTakeFirstOrThrow();
    endpointId = row.id;
  });
  after(() => api.close());

  it('are the one that is written, and the exact one once it is pinned, first come first', async () => {
    assert.deepEqual(await liveImages(api.store), [URL]);
    const exact = 'ghcr.io/ggml-org/llama.cpp@sha256:1';
    assert.deepEqual(await pinImage(api.store, endpointId, 1, exact), { image: exact });
    assert.deepEqual(await pinImage(api.store, endpointId, 1, 'x@sha256:2'), { image: exact });
    assert.deepEqual(await liveImages(api.store), [URL, exact]);
  });

  it('are those of an older revision as long as a replica of it runs, and none when the endpoint goes', async () => {
    const older = 'ghcr.io/ggml-org/llama.cpp@sha256:1';
    await beginReplica(api.store, { replicaId: 'r1', endpointId, number: 1, revision: 1 });
    const image = {
      custom: { url: 'nginx:1', port: 80 },
    };
    const put = await api.call('PUT', '/v2/endpoint/alice/live', { model: { image } });
    assert.equal(put.status, 200, JSON.stringify(put.body));
    assert.deepEqual(await liveImages(api.store), [URL, older, 'nginx:1']);
    await releaseReplica(api.store, { replicaId: 'r1', stage: 'stopped', failure: null });
    assert.deepEqual(await liveImages(api.store), ['nginx:1']);
    await sql`UPDATE endpoints SET phase = 'deleted'`.execute(api.store);
    assert.deepEqual(await liveImages(api.store), []);
  });
});

import assert from 'node:assert/strict';
import { createBody, type TestApi, testApi } from './support.ts';

describe('api: hardware that no provider brings here', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  it('is listed, as not available', async () => {
    for (const url of ['/v2/provider', '/v2/provider/alice']) {
      const { body } = await api.call('GET', url);
      const [docker, gcp] = body.vendors;
      assert.equal(docker.status, 'available');
      assert.equal(gcp.name, 'gcp');
      assert.equal(gcp.status, 'notAvailable');
      const { computes } = gcp.regions[0];
      assert.ok(computes.length >= 40);
      assert.deepEqual(
        [...new Set(computes.map((row: { status: string }) => row.status))],
        ['not_available'],
      );
      const four = computes.find((row: { id: string }) => row.id === 'gcp-us-central1-nvidia-l4-x4');
      assert.deepEqual([four.numAccelerators, four.gpuMemoryGb, four.pricePerHour], [4, 96, 4.0016]);
    }
  });

  it('is refused at create, saying what is missing', async () => {
    const body = createBody('rented', {
      top: { provider: { vendor: 'gcp', region: 'us-central1' } },
      compute: { accelerator: 'gpu', instanceType: 'nvidia-l4', instanceSize: 'x1' },
    });
    const answer = await api.call('POST', '/v2/endpoint/alice', body);
    assert.equal(answer.status, 400);
    assert.match(
      answer.body.error,
      /^provider\.vendor: 'gcp' is listed for planning only.*no provider 'gcp'/,
    );
    assert.equal((await api.call('GET', '/v2/endpoint/alice/rented')).status, 404);
  });
});

import assert from 'node:assert/strict';
import { authenticate } from '../../api/gateway/authenticate.ts';
import { loadPrincipals } from '../../store/tokens.ts';
import { eventually } from '../support/eventually.ts';
import { ask, bearer } from './client.ts';
import { startUpstream, type Upstream } from './upstream.ts';
import { createWorld, type RunningGateway, seesRoutes, type TestEndpoint, type World } from './world.ts';

describe('gateway: who may use an endpoint', () => {
  let world: World;
  let gateway: RunningGateway;
  let upstream: Upstream;
  const endpoints: Record<string, TestEndpoint> = {};
  before(async () => {
    world = await createWorld();
    upstream = await startUpstream();
    for (const type of ['public', 'authenticated', 'private'] as const) {
      endpoints[type] = await world.addEndpoint({ name: type, type });
      await world.addReplica(endpoints[type], upstream.address);
    }
    gateway = await world.startGateway();
  });
  after(async () => {
    await world.close();
    await upstream.close();
  });

  const infer = (type: string, headers = {}) => ask(gateway.port, `/acme/${type}/v1/models`, { headers });
  const knows = (token: string) =>
    eventually(
      'the token is known',
      async () => (await infer('authenticated', bearer(token))).status !== 401,
    );

  it('lets anybody use a public endpoint, whatever token is sent', async () => {
    assert.equal((await infer('public')).status, 200);
    assert.equal((await infer('public', bearer('hf_nonsense'))).status, 200);
  });

  it('answers 401 UNAUTHORIZED without a token, with an empty, a malformed and an unknown one', async () => {
    for (const type of ['authenticated', 'private'])
      for (const authorization of [undefined, 'Bearer ', 'Bearer', 'Basic YTpi', 'Bearer hf_unknown']) {
        const answer = await infer(type, authorization ? { authorization } : {});
        assert.equal(answer.status, 401, `${type} with ${authorization}`);
        assert.equal(answer.headers['www-authenticate'], 'Bearer');
        const body = JSON.parse(answer.body);
        assert.equal(body.code, 'UNAUTHORIZED');
        assert.match(body.error, /UNAUTHORIZED/);
      }
  });

  it('lets any token that may infer use an authenticated endpoint', async () => {
    const token = await world.token({ namespace: 'elsewhere' });
    await knows(token);
    assert.equal((await infer('authenticated', bearer(token))).status, 200);
    assert.equal((await infer('authenticated', { authorization: `bearer ${token}` })).status, 200);
  });

  it('lets only members of the namespace use a private endpoint', async () => {
    const [stranger, member] = [await world.token({ namespace: 'elsewhere' }), await world.token()];
    await knows(member);
    const refused = await infer('private', bearer(stranger));
    assert.equal(refused.status, 403);
    assert.match(JSON.parse(refused.body).error, /is not a member of acme/);
    assert.equal((await infer('private', bearer(member))).status, 200);
  });

  it('names the permission a token lacks', async () => {
    const token = await world.token({ role: 'read' });
    await knows(token);
    for (const type of ['authenticated', 'private']) {
      const answer = await infer(type, bearer(token));
      assert.equal(answer.status, 403);
      assert.equal(JSON.parse(answer.body).error, 'missing permissions: inference.endpoints.infer.write');
      assert.equal(answer.headers['x-error-message'], 'missing permissions: inference.endpoints.infer.write');
    }
  });

  it('turns a token away once it is revoked', async () => {
    const token = await world.token();
    await knows(token);
    await world.revoke(token);
    await eventually('401', async () => (await infer('private', bearer(token))).status === 401);
  });

  it('turns a token away from the moment it expires, without being told', async () => {
    const expiresAt = Date.now() + 60_000;
    const token = await world.token({ expiresAt: new Date(expiresAt) });
    await knows(token);
    const tokens = await loadPrincipals(world.db.store);
    const endpoint = { type: 'authenticated', namespace: 'acme', name: 'authenticated' } as const;
    const at = (now: number) => authenticate(endpoint, `Bearer ${token}`, tokens, now);
    assert.equal(typeof at(expiresAt - 1), 'string');
    const refused = at(expiresAt);
    assert.ok(typeof refused === 'object' && refused.kind === 'unauthorized');
  });

  it('answers 404 for an endpoint that does not exist, and 400 for a path that names none', async () => {
    for (const path of [
      '/acme/nothing',
      '/ACME/public',
      '/acme/public%2F',
      '/nobody/public/v1',
      '/',
      '/acme/',
    ])
      assert.ok([400, 404].includes((await ask(gateway.port, path)).status), path);
    const unknown = await ask(gateway.port, '/acme/nothing/v1');
    assert.equal(unknown.status, 404);
    assert.deepEqual(JSON.parse(unknown.body), {
      error: 'endpoint acme/nothing does not exist',
      code: 'NOT_FOUND',
    });
    assert.equal((await ask(gateway.port, '/acme')).status, 400);
  });

  it('counts no refused request as activity', async () => {
    const before = gateway.stats().requests;
    await infer('private');
    await infer('private', bearer('hf_unknown'));
    await ask(gateway.port, '/acme/nothing');
    assert.equal(gateway.stats().requests, before);
    await infer('public');
    assert.equal(gateway.stats().requests, before + 1);
  });

  it('answers by the state of the endpoint: paused and failed are not waited for', async () => {
    const paused = await world.addEndpoint({ state: 'paused', phase: 'paused' });
    const failed = await world.addEndpoint({ state: 'failed', errorMessage: 'the image does not exist' });
    await eventually('both known', async () => (await ask(gateway.port, failed.path)).status !== 404);
    const asked = await ask(gateway.port, paused.path, { headers: { 'x-scale-up-timeout': '60' } });
    assert.equal(asked.status, 400);
    assert.deepEqual(JSON.parse(asked.body), {
      error: `Bad Request: Invalid state: endpoint acme/${paused.name} is paused; resume it to use it`,
      code: 'INVALID_STATE',
      state: 'paused',
    });
    const dead = await ask(gateway.port, failed.path);
    assert.equal(dead.status, 503);
    assert.equal(dead.headers['x-endpoint-state'], 'failed');
    assert.match(JSON.parse(dead.body).error, /the image does not exist/);
  });

  it('closes a paused endpoint at once, though its replicas still run, and opens it again', async () => {
    const endpoint = await world.addEndpoint();
    await world.addReplica(endpoint, upstream.address);
    await seesRoutes(world, gateway);
    const status = async () => (await ask(gateway.port, endpoint.path)).status;
    await eventually('served', async () => (await status()) === 200);
    await world.setState(endpoint, 'running', 'paused');
    await eventually('refused', async () => (await status()) === 400);
    await world.setState(endpoint, 'running', 'running');
    await eventually('served again', async () => (await status()) === 200);
    await world.setState(endpoint, 'running', 'deleted');
    await eventually('gone', async () => (await status()) === 404);
  });
});

import assert from 'node:assert/strict';
import { setMembership } from '../../store/namespaces.ts';
import { listTokens, loadPrincipals, revokeToken } from '../../store/tokens.ts';
import { createBody, type TestApi, testApi } from './support.ts';

describe('api: who may do what', () => {
  let api: TestApi;
  before(async () => {
    api = await testApi();
    await api.call('POST', '/v2/endpoint/acme', createBody('shared'));
  });
  after(() => api.close());

  const as = (token: string | null, method: string, url: string, body?: unknown) =>
    api.call(method, url, body, { headers: token === null ? {} : { authorization: token } });

  const READS: [string, string][] = [
    ['GET', '/v2/endpoint/acme'],
    ['GET', '/v2/endpoint/acme/shared'],
    ['GET', '/v2/endpoint/acme/shared/replica'],
    ['GET', '/v2/provider/acme'],
  ];
  const WRITES: [string, string][] = [
    ['POST', '/v2/endpoint/acme'],
    ['PUT', '/v2/endpoint/acme/shared'],
    ['POST', '/v2/endpoint/acme/shared/pause'],
    ['POST', '/v2/endpoint/acme/shared/resume'],
    ['POST', '/v2/endpoint/acme/shared/scale-to-zero'],
    ['DELETE', '/v2/endpoint/acme/shared'],
  ];
  const HOSTS: [string, string][] = [
    ['POST', '/internal/hosts/join'],
    ['POST', '/internal/hosts/h1/progress'],
  ];

  for (const [method, url] of [...READS, ...WRITES, ...HOSTS, ['GET', '/api/whoami-v2'] as const]) {
    it(`refuses ${method} ${url} without a good token`, async () => {
      for (const header of [null, '', 'Bearer', 'Bearer ', 'Basic abc', 'Bearer hf_unknown']) {
        const { status, body, headers } = await as(header, method, url);
        assert.equal(status, 401);
        assert.equal(body.code, 'UNAUTHORIZED');
        assert.equal(headers['www-authenticate'], 'Bearer');
      }
    });
  }

  it('refuses a token that has expired or was revoked, in the same words as an unknown one', async () => {
    const expired = await api.tokenFor('alice', 'write', new Date(Date.now() - 1000));
    const revoked = await api.tokenFor('alice', 'write');
    const info = (await listTokens(api.store)).find((t) => t.last4 === revoked.slice(-4));
    assert.equal((await as(`Bearer ${revoked}`, 'GET', '/v2/endpoint/acme')).status, 200);
    await revokeToken(api.store, info?.id ?? '');
    await revokeToken(api.store, info?.id ?? '');
    const answers = await Promise.all(
      [expired, revoked, 'hf_unknown'].map((t) => as(`Bearer ${t}`, 'GET', '/v2/endpoint/acme')),
    );
    assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([401]));
    assert.equal(new Set(answers.map((a) => a.body.error)).size, 1);
  });

  it('names the permission a token lacks', async () => {
    const read = `Bearer ${await api.tokenFor('alice', 'read')}`;
    const infer = `Bearer ${await api.tokenFor('alice', 'infer')}`;
    for (const [method, url] of WRITES) {
      const { status, body } = await as(read, method, url);
      assert.equal(status, 403);
      assert.equal(body.error, 'missing permissions: inference.endpoints.write');
    }
    for (const [method, url] of READS) {
      assert.equal((await as(read, method, url)).status, 200);
      const { status, body } = await as(infer, method, url);
      assert.equal(status, 403);
      assert.equal(body.error, 'missing permissions: inference.endpoints.read');
    }
    for (const [method, url] of HOSTS) {
      const { status, body } = await as(`Bearer ${api.token}`, method, url);
      assert.equal(status, 403);
      assert.equal(body.error, 'missing permissions: hosts.join');
    }
  });

  it("closes another's namespace, and one that does not exist, in the same words", async () => {
    const bob = `Bearer ${await api.tokenFor('bob', 'write')}`;
    for (const namespace of ['acme', 'nowhere']) {
      const { status, body } = await as(bob, 'GET', `/v2/endpoint/${namespace}`);
      assert.equal(status, 403);
      assert.equal(body.error, `user 'bob' is not a member of namespace '${namespace}'`);
    }
  });

  it('lets a member do what the role in the namespace allows', async () => {
    const bob = `Bearer ${await api.tokenFor('bob', 'write')}`;
    await setMembership(api.store, 'acme', 'bob', 'read');
    assert.equal((await as(bob, 'GET', '/v2/endpoint/acme/shared')).status, 200);
    const refused = await as(bob, 'PUT', '/v2/endpoint/acme/shared', { tags: ['x'] });
    assert.equal(refused.status, 403);
    assert.match(refused.body.error, /role 'read' in namespace 'acme'.*'admin' or 'write'/);
    assert.equal((await as(bob, 'GET', '/v2/audit-logs/acme')).status, 403);
    await setMembership(api.store, 'acme', 'bob', 'write');
    assert.equal((await as(bob, 'PUT', '/v2/endpoint/acme/shared', { tags: ['x'] })).status, 200);
    assert.equal((await as(bob, 'GET', '/v2/audit-logs/acme')).status, 200);
  });

  it('refuses a stranger before it reads the body', async () => {
    const huge = { filler: 'x'.repeat(api.config.api.bodyLimitBytes) };
    const { status } = await as('Bearer hf_unknown', 'POST', '/v2/endpoint/acme', huge);
    assert.equal(status, 401);
  });

  it('takes the scheme of the header in any case', async () => {
    assert.equal((await as(`bearer ${api.token}`, 'GET', '/v2/endpoint/acme')).status, 200);
  });

  it('tells a client who it is, with the organisations it may work in', async () => {
    const { status, body } = await api.call('GET', '/api/whoami-v2');
    assert.equal(status, 200);
    assert.equal(body.type, 'user');
    assert.equal(body.name, 'alice');
    assert.deepEqual(
      body.orgs.map((org: { name: string; roleInOrg: string }) => [org.name, org.roleInOrg]),
      [['acme', 'admin']],
    );
  });

  it('shows the price list without a token, and the hardware of a namespace with its quota', async () => {
    const open = await as(null, 'GET', '/v2/provider');
    assert.equal(open.status, 200);
    assert.equal(open.body.vendors[0].regions[0].computes[0].quota, undefined);
    const own = await api.call('GET', '/v2/provider/acme');
    assert.deepEqual(own.body.vendors[0].regions[0].computes[0].quota, {
      maxAccelerators: 0,
      usedAccelerators: 0,
    });
  });

  it('keeps nothing of a token but its hash, and hands gateways the live ones by it', async () => {
    const row = await api.store.selectFrom('tokens').selectAll().executeTakeFirstOrThrow();
    assert.ok(!JSON.stringify(row).includes(api.token));
    const expiresAt = new Date(Date.now() + 60_000);
    await api.tokenFor('bob', 'infer', expiresAt);
    await api.tokenFor('bob', 'read', new Date(Date.now() - 1000));
    const live = [...(await loadPrincipals(api.store)).values()].filter(
      (known) => known.principal.userName === 'bob' && known.expiresAt !== null,
    );
    assert.equal(live.length, 1);
    assert.equal(live[0]?.expiresAt, expiresAt.getTime());
    assert.deepEqual([...(live[0]?.principal.permissions ?? [])], ['inference.endpoints.infer.write']);
  });
});

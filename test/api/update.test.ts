import assert from 'node:assert/strict';
import { createBody, GGUF, MODEL, type TestApi, testApi } from './support.ts';

describe('api: update', () => {
  let api: TestApi;
  let count = 0;
  before(async () => {
    api = await testApi();
  });
  after(() => api.close());

  const row = (name: string) =>
    api.store.selectFrom('endpoints').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
  const made = async (change: Parameters<typeof createBody>[1] = {}) => {
    const name = `up-${++count}`;
    const { status, body } = await api.call('POST', '/v2/endpoint/alice', createBody(name, change));
    assert.equal(status, 200, JSON.stringify(body));
    return name;
  };
  const put = (name: string, body: unknown) => api.call('PUT', `/v2/endpoint/alice/${name}`, body);
  const setState = (name: string, state: 'running' | 'failed' | 'updateFailed' | 'scaledToZero') =>
    api.store.updateTable('endpoints').set({ state }).where('name', '=', name).execute();
  const versions = async (name: string) => {
    const { generation, revision } = await row(name);
    return { generation, revision };
  };

  it('changes what the body names and nothing else', async () => {
    const name = await made({ top: { tags: ['a'] }, model: { env: { A: '1' }, task: 'text-generation' } });
    const before = (await api.call('GET', `/v2/endpoint/alice/${name}`)).body;
    const { status, body } = await put(name, { compute: { scaling: { maxReplica: 3 } } });
    assert.equal(status, 200);
    assert.equal(body.compute.scaling.maxReplica, 3);
    const { status: _, compute, ...rest } = body;
    const { status: __, compute: computeBefore, ...restBefore } = before;
    assert.deepEqual(rest, restBefore);
    assert.deepEqual({ ...compute, scaling: { ...compute.scaling, maxReplica: 1 } }, computeBefore);
  });

  it('counts a scaling, tag, type or route change as a generation but not as a revision', async () => {
    const name = await made();
    await put(name, { compute: { scaling: { maxReplica: 2 } } });
    await put(name, { tags: ['blue'] });
    await put(name, { type: 'public' });
    await put(name, { route: { domain: 'example.org' } });
    await put(name, { cacheHttpResponses: true });
    assert.deepEqual(await versions(name), { generation: 6, revision: 1 });
  });

  it('keeps what is said to the gateway, replaces it key by key, and needs no new containers', async () => {
    const limits = { requestsPerMinute: 60, maxBodyBytes: 1000 };
    const name = await made({ top: { gateway: { limits, allowedIps: ['192.0.2.0/24'] } } });
    const read = async () => (await api.call('GET', `/v2/endpoint/alice/${name}`)).body.gateway;
    assert.deepEqual(await read(), { limits, allowedIps: ['192.0.2.0/24'] });
    await put(name, { gateway: { tokenLimits: { tokensPerMinute: 5 }, allowedIps: null } });
    assert.deepEqual(await read(), { limits, tokenLimits: { tokensPerMinute: 5 } });
    await put(name, { tags: ['a'] });
    await put(name, { gateway: await read() });
    assert.deepEqual(await read(), { limits, tokenLimits: { tokensPerMinute: 5 } });
    await put(name, { gateway: null });
    assert.deepEqual(await read(), {});
    assert.equal((await versions(name)).revision, 1);
  });

  it('refuses what the gateway could not keep', async () => {
    const name = await made();
    for (const [gateway, path] of [
      [{ limits: { requestsPerMinute: 0 } }, 'gateway.limits.requestsPerMinute'],
      [{ limits: { requestPerMinute: 5 } }, 'gateway.limits'],
      [{ allowedIps: ['example.org'] }, 'gateway.allowedIps.0'],
      [{ allowedIps: ['192.0.2.0/33'] }, 'gateway.allowedIps.0'],
    ] as const) {
      const { status, body } = await put(name, { gateway });
      assert.equal(status, 400, path);
      assert.ok(body.error.startsWith(path), body.error);
    }
  });

  it('keeps standby through updates that do not name it, and shows nothing of it when there is none', async () => {
    const name = await made();
    const scaling = async () => (await api.call('GET', `/v2/endpoint/alice/${name}`)).body.compute.scaling;
    assert.ok(!('standby' in (await scaling())));
    await put(name, { compute: { scaling: { minReplica: 0, standby: 'frozen' } } });
    assert.equal((await scaling()).standby, 'frozen');
    await put(name, { compute: { scaling: { maxReplica: 2 } } });
    await put(name, { tags: ['a'] });
    assert.equal((await scaling()).standby, 'frozen');
    await put(name, { compute: { scaling: await scaling() } });
    assert.equal((await scaling()).standby, 'frozen', 'what is read can be written');
    assert.equal((await versions(name)).revision, 1);
    const refused = await put(name, { compute: { scaling: { standby: 'warm' } } });
    assert.equal(refused.status, 400);
    assert.match(refused.body.error, /standby/);
    await put(name, { compute: { scaling: { standby: 'none' } } });
    assert.ok(!('standby' in (await scaling())));
    const { spec } = await row(name);
    assert.ok(!('standby' in spec.compute.scaling));
  });

  it('makes a revision of its own for everything that needs new containers', async () => {
    const name = await made();
    await put(name, { model: { env: { A: '1' } } });
    await put(name, { compute: { instanceSize: 'x2' } });
    await put(name, { model: { secrets: { S: '1' } } });
    await put(name, { model: { secrets: { S: '2' } } });
    await put(name, { model: { args: ['--verbose'] } });
    assert.deepEqual(await versions(name), { generation: 6, revision: 6 });
    const { id } = await row(name);
    const revisions = await api.store
      .selectFrom('revisions')
      .selectAll()
      .where('endpoint_id', '=', id)
      .orderBy('revision')
      .execute();
    assert.deepEqual(
      revisions.map((r) => r.spec.compute.instanceSize),
      ['x1', 'x1', 'x2', 'x2', 'x2', 'x2'],
    );
    assert.deepEqual(api.vault.decrypt(revisions[4]?.secrets as Buffer, `revision:${id}:5`), {
      env: { S: '2' },
      registry: null,
    });
  });

  it('answers an empty body, and one that changes nothing, with the endpoint as it is', async () => {
    const name = await made({ top: { tags: ['a'] } });
    const before = await row(name);
    const told = api.notify.told.length;
    const empty = await put(name, {});
    const same = await put(name, { tags: ['a'], model: { repository: MODEL }, type: 'authenticated' });
    assert.equal(empty.status, 200);
    assert.equal(same.status, 200);
    assert.deepEqual(await row(name), before);
    assert.equal(api.notify.told.length, told);
  });

  it('takes back what a GET gave, unchanged', async () => {
    const image = { custom: { url: 'x', credentials: { username: 'joe', password: 'pa55' } } };
    const name = await made({ model: { image, framework: 'custom', secrets: { S: 'value' } } });
    const before = await row(name);
    const { body } = await api.call('GET', `/v2/endpoint/alice/${name}`);
    const answer = await put(name, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.deepEqual(await row(name), before);
  });

  it('replaces env, args, command, tags and image as a whole', async () => {
    const name = await made({
      top: { tags: ['a', 'b'] },
      model: { env: { A: '1', B: '2' }, args: ['x'], command: ['run'] },
    });
    const { body } = await put(name, {
      tags: ['c'],
      model: {
        env: { C: '3' },
        args: [],
        command: null,
        image: { custom: { url: 'nginx', port: 80 } },
      },
    });
    assert.deepEqual(body.tags, ['c']);
    assert.deepEqual(body.model.env, { C: '3' });
    assert.deepEqual(body.model.args, []);
    assert.deepEqual(body.model.command, []);
    assert.deepEqual(body.model.image, { custom: { url: 'nginx', port: 80 } });
  });

  it('keeps a secret that comes back without its value, drops one that does not come back', async () => {
    const name = await made({ model: { secrets: { KEEP: 'kept', DROP: 'dropped' } } });
    const { body } = await put(name, { model: { secrets: { KEEP: '', NEW: 'new' } } });
    assert.deepEqual(body.model.secrets, { KEEP: '', NEW: '' });
    const { id, secrets } = await row(name);
    assert.deepEqual(api.vault.decrypt(secrets as Buffer, `endpoint:${id}`), {
      env: { KEEP: 'kept', NEW: 'new' },
      registry: null,
    });
  });

  it('keeps stored registry credentials that come back redacted, drops them with an image without', async () => {
    const credentials = { username: 'joe', password: 'pa55' };
    const name = await made({
      model: { image: { custom: { url: 'x', credentials } }, framework: 'custom' },
    });
    await put(name, {
      model: { image: { custom: { url: 'y', credentials: { username: '', password: null } } } },
    });
    const kept = await row(name);
    const open = (r: typeof kept) =>
      api.vault.decrypt<{ registry: unknown }>(r.secrets as Buffer, `endpoint:${r.id}`);
    assert.deepEqual(open(kept).registry, credentials);
    await put(name, { model: { image: { custom: { url: 'z' } } } });
    assert.equal(open(await row(name)).registry, null);
  });

  it('merges a route and clears it with null', async () => {
    const name = await made();
    await put(name, { route: { domain: 'Merged.Example.org' } });
    assert.deepEqual((await put(name, { route: { path: '/v1' } })).body.route, {
      domain: 'merged.example.org',
      path: '/v1',
    });
    assert.equal((await put(name, { route: null })).body.route, null);
  });

  it('gives a domain to one endpoint at a time', async () => {
    const route = { domain: 'chat.example.org' };
    const [first, second] = [await made({ top: { route } }), await made()];
    for (const refused of [
      await put(second, { route }),
      await put(second, { route: { domain: 'CHAT.example.org' } }),
      await api.call('POST', '/v2/endpoint/alice', createBody('wants-it-too', { top: { route } })),
    ]) {
      assert.equal(refused.status, 409);
      assert.match(
        refused.body.error,
        new RegExp(
          `^route\\.domain: 'chat\\.example\\.org' is the domain of endpoint 'alice/${first}' already`,
        ),
      );
    }
    assert.equal((await put(first, { route, tags: ['mine'] })).status, 200, 'its own stays its own');
    // Of two at once one is refused, whichever it is.
    await put(first, { route: null });
    const both = await Promise.all([put(first, { route }), put(second, { route })]);
    assert.deepEqual(both.map(({ status }) => status).sort(), [200, 409]);
    for (const name of [first, second]) await api.call('DELETE', `/v2/endpoint/alice/${name}`);
    assert.equal((await put(await made(), { route })).status, 200, 'free while the other is being deleted');
  });

  it('refuses what is no domain, or leads to the gateways', async () => {
    const name = await made();
    for (const domain of [
      'localhost',
      '192.0.2.7',
      'https://a.example.org',
      'a.example.org:80',
      'a..b',
      '-a.org',
      '*.a.org',
    ]) {
      const { status, body } = await put(name, { route: { domain } });
      assert.equal(status, 400, domain);
      assert.match(body.error, /route\.domain: .*not a domain/);
    }
    api.config.gateway.domain = 'site.example.org';
    api.config.gateway.publicUrl = 'https://public.example.org:8443';
    api.config.gateway.ownHosts = ['own.example.org'];
    for (const domain of [
      'site.example.org',
      'a.site.example.org',
      'public.example.org',
      'own.example.org',
    ]) {
      const { status, body } = await put(name, { route: { domain } });
      assert.equal(status, 400, domain);
      assert.match(body.error, /leads to the gateways of this site/);
    }
  });

  it('clears revision and task with null', async () => {
    const name = await made({ model: { revision: 'main', task: 'text-generation' } });
    const { body } = await put(name, { model: { revision: null, task: null } });
    assert.equal(body.model.revision, null);
    assert.equal(body.model.task, null);
  });

  it('drops the sleep timeout when the endpoint may no longer sleep, and brings it back with 15 minutes', async () => {
    const name = await made({ scaling: { minReplica: 0, scaleToZeroTimeout: 60 } });
    const awake = await put(name, { compute: { scaling: { minReplica: 1 } } });
    assert.equal(awake.body.compute.scaling.scaleToZeroTimeout, null);
    const asleep = await put(name, { compute: { scaling: { minReplica: 0 } } });
    assert.equal(asleep.body.compute.scaling.scaleToZeroTimeout, 15);
  });

  it('wakes a sleeping endpoint for a new version or a higher minimum, and for nothing else', async () => {
    const name = await made({ scaling: { minReplica: 0, maxReplica: 3 } });
    const states: string[] = [];
    for (const change of [
      { tags: ['x'] },
      { compute: { scaling: { maxReplica: 4 } } },
      { compute: { scaling: { minReplica: 2 } } },
      { model: { env: { A: '1' } } },
    ]) {
      await setState(name, 'scaledToZero');
      api.notify.told.length = 0;
      const { body } = await put(name, change);
      states.push(`${body.status.state} ${body.status.targetReplica}: ${api.notify.told.join()}`);
    }
    assert.deepEqual(states, [
      `scaledToZero 1: alice/${name}`,
      `scaledToZero 1: alice/${name}`,
      `pending 2: alice/${name} wake`,
      `pending 2: alice/${name} wake`,
    ]);
  });

  it('changes the threshold of the metric in use', async () => {
    const name = await made({ scaling: { measure: { pendingRequests: 2 } } });
    const { body } = await put(name, { compute: { scaling: { threshold: 4 } } });
    assert.deepEqual(body.compute.scaling.measure, { pendingRequests: 4 });
  });

  const bad: [what: string, text: RegExp, body: unknown][] = [
    [
      'bounds that contradict what is stored',
      /compute\.scaling\.minReplica: 5/,
      { compute: { scaling: { minReplica: 5 } } },
    ],
    [
      'a sleep timeout it may not have',
      /scaleToZeroTimeout: 30/,
      { compute: { scaling: { scaleToZeroTimeout: 30 } } },
    ],
    ['an unknown instance', /compute\.instanceSize.*x99/, { compute: { instanceSize: 'x99' } }],
    [
      'a missing repository',
      /model\.repository.*example\/nowhere/,
      { model: { repository: 'example/nowhere' } },
    ],
    ['a missing revision', /model\.revision.*v9/, { model: { revision: 'v9' } }],
    ['an unknown type', /type.*protected/, { type: 'protected' }],
    [
      'credentials to keep where there are none',
      /credentials.*none are stored/,
      { model: { image: { custom: { url: 'x', credentials: { username: '', password: null } } } } },
    ],
  ];
  for (const [what, text, body] of bad) {
    it(`refuses ${what} and changes nothing`, async () => {
      const name = await made();
      const before = await row(name);
      const answer = await put(name, body);
      assert.equal(answer.status, 400);
      assert.match(answer.body.error, text);
      assert.deepEqual(await row(name), before);
    });
  }

  it('shows a running endpoint as updating from the moment its update is stored', async () => {
    const name = await made();
    await setState(name, 'running');
    const { body } = await put(name, { model: { env: { A: '1' } } });
    assert.equal(body.status.state, 'updating');
    assert.equal(body.status.message, 'Endpoint waiting for the update');
  });

  it('leaves a running endpoint running when only its scaling changes', async () => {
    const name = await made();
    await setState(name, 'running');
    const { body } = await put(name, { compute: { scaling: { maxReplica: 4 } } });
    assert.equal(body.status.state, 'running');
  });

  it('tries a failed endpoint again, also when the update says nothing new', async () => {
    const name = await made();
    await setState(name, 'failed');
    const { body } = await put(name, {});
    assert.equal(body.status.state, 'pending');
    assert.equal(body.status.errorMessage, null);
    assert.deepEqual(await versions(name), { generation: 2, revision: 1 });
    await setState(name, 'updateFailed');
    assert.equal((await put(name, { model: { env: { A: '1' } } })).body.status.state, 'updating');
    assert.deepEqual(await versions(name), { generation: 3, revision: 2 });
  });

  it('stores an update of a paused endpoint without starting it', async () => {
    const name = await made();
    await api.call('POST', `/v2/endpoint/alice/${name}/pause`);
    const { body } = await put(name, { model: { env: { A: '1' } } });
    assert.equal(body.status.state, 'paused');
    assert.equal(body.status.url, null);
    assert.deepEqual(body.model.env, { A: '1' });
    assert.deepEqual(await versions(name), { generation: 3, revision: 2 });
  });

  it('is accepted while the Hub is unreachable, and leaves the files to the workflow', async () => {
    const name = await made();
    await put(name, { model: { repository: 'example/unreachable' } });
    const { id, revision } = await row(name);
    const { weights } = await api.store
      .selectFrom('revisions')
      .select('weights')
      .where('endpoint_id', '=', id)
      .where('revision', '=', revision)
      .executeTakeFirstOrThrow();
    assert.equal(weights, null);
  });

  it('reflects every one of 20 updates made at once', async () => {
    const name = await made();
    const answers = await Promise.all([
      put(name, { compute: { scaling: { maxReplica: 9 } } }),
      put(name, { tags: ['x'] }),
      put(name, { type: 'private' }),
      put(name, { route: { path: '/p' } }),
      put(name, { model: { args: ['--a'] } }),
      put(name, { model: { env: { E: '1' } } }),
      put(name, { model: { secrets: { S: '1' } } }),
      put(name, { compute: { instanceSize: 'x4' } }),
      ...Array.from({ length: 12 }, (_, i) => put(name, { experimentalFeatures: { [`f${i}`]: true } })),
    ]);
    assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([200]));
    const { body } = await api.call('GET', `/v2/endpoint/alice/${name}`);
    assert.equal(body.compute.scaling.maxReplica, 9);
    assert.equal(body.compute.instanceSize, 'x4');
    assert.deepEqual(body.tags, ['x']);
    assert.equal(body.type, 'private');
    assert.deepEqual(body.route, { path: '/p' });
    assert.deepEqual(body.model.args, ['--a']);
    assert.deepEqual(body.model.env, { E: '1' });
    assert.deepEqual(body.model.secrets, { S: '' });
    assert.equal(Object.keys(body.experimentalFeatures).length, 12);
    assert.deepEqual(await versions(name), { generation: 21, revision: 5 });
    assert.equal(body.model.image.llamacpp.modelPath, GGUF);
  });

  it('writes down who changed what, without secret values', async () => {
    const name = await made({ model: { secrets: { S: 'old-s3cret' } } });
    await put(name, { compute: { instanceSize: 'x2' }, model: { secrets: { S: 'new-s3cret', T: 't' } } });
    const { body } = await api.call('GET', `/v2/audit-logs/alice?endpoint=${name}&limit=1`);
    const [entry] = body.list;
    assert.equal(entry.action, 'endpoint.update');
    assert.equal(entry.user.name, 'alice');
    assert.ok(entry.requestId);
    assert.deepEqual(entry.changes, [
      { path: 'compute.instanceSize', before: 'x1', after: 'x2' },
      { path: 'model.secrets.S', before: 'set', after: 'changed' },
      { path: 'model.secrets.T', before: null, after: 'set' },
    ]);
    assert.doesNotMatch(JSON.stringify(body), /s3cret/);
  });
});

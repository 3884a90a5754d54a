import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FILE, IMAGE, type Installation } from '../support/installation.ts';

/** An endpoint in the middle of a step. */
export interface Scene {
  readonly installation: Installation;
  readonly name: string;
}

/** One step of an endpoint's life. */
export interface Step {
  readonly name: string;
  /** What must be there before; the endpoint is created and running unless this says otherwise. */
  readonly from: 'nothing' | 'one running' | 'two running';
  /** The write that leads to the step. */
  begin(scene: Scene): Promise<void>;
  /** Whether the step is being taken now. */
  reached(scene: Scene): Promise<boolean>;
  /** What is to be there in the end; null: nothing. */
  readonly outcome: { replicas: number; ctxSize: number } | null;
  /** Whether a container that runs at the step is to end by it. */
  readonly ends?: true;
}

export const FIRST_CTX = 1024;
const NEXT_CTX = 2048;

export const image = (ctxSize: number) => ({
  llamacpp: { url: IMAGE, ctxSize, nParallel: 2, threadsHttp: 4, modelPath: FILE },
});
export const scaling = (replicas: number) => ({
  minReplica: replicas,
  maxReplica: replicas,
  scaleToZeroTimeout: null,
});

const path = ({ installation, name }: Scene) => `/v2/endpoint/${installation.connection.namespace}/${name}`;

async function put(scene: Scene, body: object): Promise<void> {
  const { status, body: answer } = await scene.installation.api('PUT', path(scene), body);
  if (status !== 200) throw new Error(`put ${scene.name}: ${status} ${JSON.stringify(answer)}`);
}

const create = ({ installation, name }: Scene) =>
  installation.create(name, { scaling: scaling(1), image: image(FIRST_CTX) });

/** Rows of the endpoint's replicas or routes for which `where` holds. */
async function some(scene: Scene, table: 'replicas' | 'routes', where: string): Promise<boolean> {
  const rows = await scene.installation.query(
    `SELECT 1 FROM ${table} t WHERE ${where} AND t.endpoint_id = (SELECT id FROM endpoints WHERE name = '${scene.name}')`,
  );
  return rows.length > 0;
}

/** An answer that takes a while, so that a drain has something to wait for. Whether it ends well is not asked. */
function longAnswer({ installation, name }: Scene): void {
  const { gateway, namespace, token } = installation.connection;
  void fetch(`${gateway}/${namespace}/${name}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      messages: [{ role: 'user', content: 'Tell a long story.' }],
      max_tokens: 120,
      ignore_eos: true,
    }),
  }).then(
    (response) => response.text().catch(() => ''),
    () => '',
  );
}

const one = { replicas: 1, ctxSize: FIRST_CTX };
const updated = { replicas: 1, ctxSize: NEXT_CTX };
const nothing = async () => true;
const update = (scene: Scene) => put(scene, { model: { image: image(NEXT_CTX) } });
/** Long enough that a kill meets it, and short for those who wait for its end. */
const WATCH_SECONDS = 4;

export const STEPS: readonly Step[] = [
  { name: 'create', from: 'nothing', begin: create, reached: nothing, outcome: one },
  {
    name: 'download',
    from: 'nothing',
    begin: async (scene) => {
      rmSync(join(scene.installation.dir, 'data', 'agent', 'weights'), { recursive: true, force: true });
      scene.installation.hub.fault = ({ method, route }) =>
        method === 'GET' && route?.kind === 'file' ? { kind: 'slow', bytesPerSecond: 12_000_000 } : undefined;
      await create(scene);
    },
    reached: async ({ installation, name }) =>
      /downloading [2-9]\d of 98 MB/.test((await installation.get(name)).status.message),
    outcome: one,
  },
  {
    name: 'container start',
    from: 'nothing',
    begin: create,
    reached: async ({ installation, name }) => (await installation.containers(name)).length > 0,
    outcome: one,
  },
  {
    name: 'readiness',
    from: 'nothing',
    begin: create,
    reached: async ({ installation, name }) =>
      /first inference/.test((await installation.get(name)).status.message),
    outcome: one,
  },
  {
    name: 'route in',
    from: 'nothing',
    begin: create,
    reached: (scene) => some(scene, 'routes', "t.state = 'ready'"),
    outcome: one,
  },
  {
    name: 'scale up',
    from: 'one running',
    begin: (scene) => put(scene, { compute: { scaling: scaling(2) } }),
    reached: (scene) => some(scene, 'replicas', 't.number = 2'),
    outcome: { replicas: 2, ctxSize: FIRST_CTX },
  },
  {
    name: 'drain',
    from: 'two running',
    begin: async (scene) => {
      for (let n = 0; n < 4; n++) longAnswer(scene);
      await put(scene, { compute: { scaling: scaling(1) } });
    },
    reached: (scene) => some(scene, 'routes', "t.state = 'draining'"),
    outcome: one,
    ends: true,
  },
  {
    name: 'stop',
    from: 'two running',
    begin: (scene) => put(scene, { compute: { scaling: scaling(1) } }),
    reached: (scene) => some(scene, 'replicas', "t.stage IN ('stopping', 'stopped')"),
    outcome: one,
    ends: true,
  },
  { name: 'update', from: 'one running', begin: update, reached: nothing, outcome: updated, ends: true },
  {
    name: 'rollout: surge starts',
    from: 'one running',
    begin: update,
    reached: async ({ installation, name }) => (await installation.containers(name)).length > 1,
    outcome: updated,
    ends: true,
  },
  {
    name: 'rollout: new one is watched',
    from: 'one running',
    begin: (scene) =>
      put(scene, {
        model: { image: image(NEXT_CTX) },
        experimentalFeatures: { bake: { seconds: WATCH_SECONDS } },
      }),
    reached: (scene) => some(scene, 'routes', "t.state = 'ready' AND t.replica_id LIKE '%-2'"),
    outcome: updated,
    ends: true,
  },
  {
    name: 'rollout: old one drains',
    from: 'one running',
    begin: async (scene) => {
      for (let n = 0; n < 2; n++) longAnswer(scene);
      await update(scene);
    },
    reached: (scene) => some(scene, 'replicas', "t.number = 1 AND t.stage = 'draining'"),
    outcome: updated,
    ends: true,
  },
  {
    name: 'rollout: old one stops',
    from: 'one running',
    begin: update,
    reached: (scene) => some(scene, 'replicas', "t.number = 1 AND t.stage IN ('stopping', 'stopped')"),
    outcome: updated,
    ends: true,
  },
  {
    name: 'delete',
    from: 'one running',
    begin: async (scene) => {
      await scene.installation.api('DELETE', path(scene));
    },
    reached: nothing,
    outcome: null,
  },
  {
    name: 'delete: container stops',
    from: 'one running',
    begin: async (scene) => {
      await scene.installation.api('DELETE', path(scene));
    },
    reached: (scene) => some(scene, 'replicas', "t.stage IN ('stopping', 'stopped')"),
    outcome: null,
  },
];

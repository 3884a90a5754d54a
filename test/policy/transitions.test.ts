import assert from 'node:assert/strict';
import { ENDPOINT_STATES, type EndpointState } from '../../spec/states.ts';
import { Simulation } from './simulation.ts';

/** How an endpoint that may have none to two replicas gets into each state. */
const REACH: Record<EndpointState, (w: Simulation) => void> = {
  pending: (w) => w.round(),
  initializing: (w) => {
    w.round();
    for (const r of w.real) w.advance(r);
    w.round();
  },
  running: (w) => w.settle(),
  updating: (w) => {
    w.settle();
    w.write({ revision: 2 });
    w.round();
  },
  updateFailed: (w) => {
    w.settle();
    put(w, 'BAD_ARGS');
    w.settle();
  },
  failed: (w) => {
    w.bad.set(1, 'BAD_ARGS');
    w.settle();
  },
  paused: (w) => {
    w.settle();
    w.write({ phase: 'paused' });
    w.settle();
  },
  scaledToZero: (w) => {
    w.settle();
    w.ask(0);
    w.settle();
  },
};

function put(w: Simulation, cause?: 'BAD_ARGS' | 'UNKNOWN'): void {
  w.write({ revision: w.wish.revision + 1 });
  if (cause) w.bad.set(w.wish.revision, cause);
  // What the API does with a new version for an endpoint that sleeps.
  if (w.projection?.state === 'scaledToZero') w.wake();
}

/** Everything that happens to one; false where it cannot happen in this state. */
const CAUSES: Record<string, (w: Simulation) => unknown> = {
  'a replica gets a place': (w) => {
    const r = w.real.find((x) => x.stage === 'pending');
    return r ? w.advance(r) : false;
  },
  'a replica gets ready': (w) => {
    const r = w.real.find((x) => ['pending', 'downloading'].includes(x.stage));
    if (!r) return false;
    w.bad.clear();
    w.advance(r);
    if (r.stage !== 'running') w.advance(r);
  },
  'a start fails for good': (w) => {
    const r = w.real.find((x) => ['pending', 'downloading'].includes(x.stage));
    if (!r) return false;
    w.bad.set(r.revision, 'BAD_ARGS');
    w.fail(r, 'BAD_ARGS');
  },
  'a start fails, perhaps not again': (w) => {
    const r = w.real.find((x) => ['pending', 'downloading'].includes(x.stage));
    return r ? w.fail(r, 'UNKNOWN') : false;
  },
  'starts go on failing': (w) => {
    const r = w.real.find((x) => ['pending', 'downloading'].includes(x.stage));
    if (!r) return false;
    w.bad.set(r.revision, 'UNKNOWN');
    w.fail(r, 'UNKNOWN');
  },
  'the serving replica dies': (w) => {
    const r = w.serving[0];
    return r ? w.fail(r, 'CONTAINER_EXITED') : false;
  },
  'all hosts are lost': (w) => {
    if (w.real.length === 0) return false;
    for (const r of [...w.real]) w.lose(r);
  },
  'all hosts are lost and come back': (w) => {
    if (w.serving.length === 0) return false;
    for (const r of [...w.real]) w.lose(r);
    w.round();
    for (const r of [...w.real]) w.find(r);
  },
  'all hosts are lost, and there is no other': (w) => {
    if (w.serving.length === 0) return false;
    for (const r of [...w.real]) w.lose(r);
    w.places = 0;
  },
  'a new version': (w) => put(w),
  'a new version that cannot start': (w) => put(w, 'BAD_ARGS'),
  'a change of tags': (w) => w.write({}),
  'a minimum of two': (w) => {
    w.write({ minReplica: 2 });
    if (w.projection?.state === 'scaledToZero') w.wake();
  },
  pause: (w) => w.write({ phase: 'paused' }),
  resume: (w) => {
    if (['running', 'updating'].includes(w.projection?.state ?? '')) return false;
    w.write({ phase: 'running' });
    w.wake();
  },
  'scale to zero by its owner': (w) =>
    w.wish.phase === 'paused' ? false : w.write({ sleepGeneration: w.wish.generation + 1 }),
  'idle for long': (w) => w.ask(0),
  'load for two': (w) => w.ask(2),
  'a request': (w) => w.wake(),
  'the hosts are full': (w) => {
    w.places = w.real.filter((r) => r.hostId !== null).length;
  },
  'the Temporal database is lost': (w) => w.forget(),
  delete: (w) => w.write({ phase: 'deleted' }),
};

const SHORT: Record<string, EndpointState> = {
  pend: 'pending',
  init: 'initializing',
  run: 'running',
  upd: 'updating',
  updF: 'updateFailed',
  fail: 'failed',
  paus: 'paused',
  zero: 'scaledToZero',
};

/**
 * Each cell: the state right after the cause, and the state and number of replicas once all has come to its end. `-`: it
 * cannot happen there. An endpoint that is being deleted is shown as paused until it is gone.
 */
const TABLE = `
                                  | pending       | initializing  | running       | updating      | updateFailed  | failed        | paused        | scaledToZero
a replica gets a place            | init > run1   | -             | -             | upd > run1    | -             | -             | -             | -
a replica gets ready              | run > run1    | run > run1    | -             | run > run1    | -             | -             | -             | -
a start fails for good            | fail > fail0  | fail > fail0  | -             | updF > updF1  | -             | -             | -             | -
a start fails, perhaps not again  | init > run1   | init > run1   | -             | upd > run1    | -             | -             | -             | -
starts go on failing              | init > fail0  | init > fail0  | -             | upd > updF1   | -             | -             | -             | -
the serving replica dies          | -             | -             | pend > run1   | pend > run1   | updF > updF1  | -             | -             | -
all hosts are lost                | init > run1   | init > run1   | pend > run1   | init > run1   | updF > updF1  | -             | -             | -
all hosts are lost and come back  | -             | -             | run > run1    | upd > run1    | updF > updF1  | -             | -             | -
all hosts are lost, and there is no other | - | - | pend > pend2 | init > pend2 | updF > updF2 | - | - | -
a new version                     | pend > run1   | pend > run1   | upd > run1    | upd > run1    | upd > run1    | pend > run1   | paus > paus0  | pend > run1
a new version that cannot start   | pend > fail0  | pend > fail0  | upd > updF1   | upd > updF1   | upd > updF1   | pend > fail0  | paus > paus0  | pend > updF1
a change of tags                  | pend > run1   | init > run1   | run > run1    | upd > run1    | upd > updF1   | pend > fail0  | paus > paus0  | zero > zero0
a minimum of two                  | pend > run2   | init > run2   | run > run2    | upd > run2    | upd > updF2   | pend > fail0  | paus > paus0  | pend > run2
pause                             | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0
resume                            | pend > run1   | init > run1   | -             | -             | upd > updF1   | pend > fail0  | pend > run1   | pend > run1
scale to zero by its owner        | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | -             | zero > zero0
idle for long                     | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | zero > zero0  | paus > paus0  | zero > zero0
load for two                      | pend > run2   | init > run2   | run > run2    | upd > run2    | updF > updF2  | fail > fail0  | paus > paus0  | zero > zero0
a request                         | pend > run1   | init > run1   | run > run1    | upd > run1    | updF > updF1  | fail > fail0  | paus > paus0  | pend > run1
the hosts are full                | pend > pend1  | init > run1   | run > run1    | upd > run1    | updF > updF1  | fail > fail0  | paus > paus0  | zero > zero0
the Temporal database is lost     | pend > run1   | pend > run1   | pend > run1   | upd > run1    | upd > updF1   | pend > fail0  | paus > paus0  | zero > zero0
delete                            | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0  | paus > paus0
`;

describe('policy: plan, every state and every cause', () => {
  const rows = TABLE.trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()));
  const columns = rows[0]?.slice(1) ?? [];

  it('has a row for every cause and a column for every state', () => {
    assert.deepEqual(columns, [...ENDPOINT_STATES]);
    assert.deepEqual(
      rows.slice(1).map(([cause]) => cause),
      Object.keys(CAUSES),
    );
  });

  for (const [cause = '', ...cells] of rows.slice(1)) {
    it(cause, () => {
      for (const [i, cell] of cells.entries()) {
        const state = columns[i] as EndpointState;
        const world = new Simulation({ minReplica: 0, maxReplica: 2 });
        REACH[state](world);
        assert.equal(world.projection?.state, state);
        const happens = CAUSES[cause]?.(world) !== false;
        assert.equal(happens, cell !== '-', `${state}: ${cause}`);
        if (!happens) continue;
        const [, first = '', last = '', replicas] = cell.match(/^(\w+) > (\w+?)(\d)$/) ?? [];
        world.round();
        assert.equal(world.projection?.state, SHORT[first], `${state}: ${cause}, at once`);
        assert.ok(world.settle(), `${state}: ${cause} does not settle`);
        const end = [world.projection?.state, world.present.length];
        assert.deepEqual(end, [SHORT[last], Number(replicas)], `${state}: ${cause}, in the end`);
      }
    });
  }
});

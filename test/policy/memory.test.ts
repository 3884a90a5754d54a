import assert from 'node:assert/strict';
import { Simulation } from './simulation.ts';

describe('policy: what an endpoint remembers', () => {
  it('replaces what a failed update loses by the version before, also after a sleep', () => {
    const w = new Simulation({ minReplica: 0, maxReplica: 3 });
    w.settle();
    w.ask(2);
    w.settle();
    w.bad.set(2, 'BAD_ARGS');
    w.write({ revision: 2 });
    w.settle();
    for (const r of [...w.serving]) w.fail(r, 'HOST_LOST');
    w.round();
    assert.deepEqual(
      [w.projection?.state, w.projection?.message],
      ['updateFailed', 'Update failed to start; the previous version is starting again'],
    );
    w.settle();
    assert.deepEqual([w.projection?.state, w.serving.map((r) => r.revision)], ['updateFailed', [1, 1]]);
    w.ask(0);
    w.settle();
    w.wake();
    w.settle();
    assert.deepEqual([w.projection?.state, w.serving.map((r) => r.revision)], ['updateFailed', [1]]);
    w.write({ revision: 3 });
    w.settle();
    assert.deepEqual([w.projection?.state, w.serving.map((r) => r.revision)], ['running', [3]]);
  });

  it('is failed only when the version before cannot start either, and then stands still', () => {
    const w = new Simulation({ maxReplica: 1 });
    w.settle();
    w.bad.set(2, 'BAD_ARGS');
    w.write({ revision: 2 });
    w.settle();
    w.bad.set(1, 'DISK_FULL');
    for (const r of [...w.serving]) w.fail(r, 'HOST_LOST');
    assert.ok(w.settle());
    assert.equal(w.projection?.state, 'failed');
    assert.match(w.projection?.errorMessage ?? '', /^BAD_ARGS/);
  });

  it('gives up one old replica for a new one that finds no room, and no second while that did not help', () => {
    const w = new Simulation({ maxReplica: 3 });
    w.settle();
    w.ask(3);
    w.settle();
    w.places = 0;
    w.write({ revision: 2 });
    for (let s = 0; s < 60; s += 1) {
      w.round();
      for (const r of [...w.real]) w.end(r);
      for (const r of [...w.real]) w.advance(r);
      w.now += 1000;
    }
    assert.deepEqual(
      w.serving.map((r) => r.revision),
      [1, 1],
    );
    assert.match(w.projection?.message ?? '', /updating to revision 2; there is no room for a spare/);
    w.places = 3;
    w.settle();
    assert.deepEqual([w.projection?.state, w.serving.map((r) => r.revision)], ['running', [2, 2, 2]]);
  });

  it('without memory leaves alone an old replica that had served, until new ones do', () => {
    const w = new Simulation({ maxReplica: 1 });
    w.settle();
    w.bad.set(2, 'UNKNOWN');
    w.write({ revision: 2 });
    w.settle();
    w.forget();
    const { plan } = w.round();
    assert.deepEqual(plan.stop, []);
    w.settle();
    assert.deepEqual([w.projection?.state, w.serving.map((r) => r.number)], ['updateFailed', [1]]);
  });

  it('holds no failure against a revision that a replica met after it was told to stop', () => {
    const w = new Simulation({ maxReplica: 2 });
    w.settle();
    w.ask(2);
    w.round();
    const starting = w.real.find((r) => r.stage === 'pending');
    w.ask(1);
    w.round();
    assert.ok(starting?.stopping);
    w.fail(starting, 'BAD_ARGS');
    w.round();
    assert.deepEqual([w.projection?.state, w.projection?.errorMessage], ['running', null]);
  });

  it('tries on, at growing distances, for a replica that fails while others of its revision serve', () => {
    const w = new Simulation({ maxReplica: 2 });
    w.settle();
    w.bad.set(1, 'DISK_FULL');
    w.ask(2);
    const starts: number[] = [];
    for (let s = 0; s < 300; s += 1) {
      if (w.round().plan.start > 0) starts.push(s);
      for (const r of [...w.real]) w.advance(r);
      w.now += 1000;
    }
    assert.equal(w.projection?.state, 'running');
    assert.match(w.projection?.errorMessage ?? '', /^DISK_FULL/);
    assert.ok(starts.length >= 6 && starts.length <= 10, starts.join());
    w.bad.clear();
    w.settle();
    assert.equal(w.serving.length, 2);
  });
});

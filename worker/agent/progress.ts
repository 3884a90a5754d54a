import type { ReplicaStage } from '../../spec/states.ts';

/** The API takes no longer ones. */
const MAX_MESSAGE = 500;

export interface ProgressReport {
  replicaId: string;
  stage: ReplicaStage;
  message: string;
}

/**
 * Passes reports on, at most one a replica and `intervalMs`: of those that come faster the newest. Best effort: one that
 * cannot be delivered is dropped, the next says more.
 */
export class ProgressReporter {
  readonly #send: (report: ProgressReport) => Promise<void>;
  readonly #intervalMs: number;
  /** A replica is in here while it has to wait; the value is what it will say then. */
  readonly #waiting = new Map<string, ProgressReport | null>();

  constructor(send: (report: ProgressReport) => Promise<void>, intervalMs = 1000) {
    this.#send = send;
    this.#intervalMs = intervalMs;
  }

  report(replicaId: string, stage: ReplicaStage, message: string): void {
    const report = { replicaId, stage, message: message.slice(0, MAX_MESSAGE) };
    if (this.#waiting.has(replicaId)) this.#waiting.set(replicaId, report);
    else this.#pass(report);
  }

  #pass(report: ProgressReport): void {
    this.#waiting.set(report.replicaId, null);
    this.#send(report).catch(() => undefined);
    setTimeout(() => {
      const next = this.#waiting.get(report.replicaId);
      this.#waiting.delete(report.replicaId);
      if (next) this.#pass(next);
    }, this.#intervalMs).unref();
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { nextDelayMs } from '../../runtime/backoff.ts';
import { errorMessage } from '../../spec/errors.ts';
import { type ProcessId, processId } from './process-id.ts';

/** A process that serves. */
export interface Running {
  pid: number;
  /** Settles when it has ended, for whatever reason; says how, in words. */
  ended: Promise<string>;
  /** Asks it to end, and makes it end after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/** Something to keep running. */
export interface Service {
  name: string;
  /**
   * Starts it and resolves when it serves. `spawned` is told the process number at once, so that it is on record even
   * if this supervisor is killed the next moment. `signal` ends the attempt. Leaves no process behind when it throws.
   */
  start(spawned: (pid: number) => void, signal: AbortSignal): Promise<Running>;
}

export type SupervisorEvent =
  | { kind: 'ended'; name: string; how: string; restartInMs: number }
  | { kind: 'failed'; name: string; why: string; restartInMs: number }
  | { kind: 'restarted'; name: string; pid: number };

interface Entry {
  service: Service;
  id: ProcessId | undefined;
  running: Running | undefined;
  stopping: AbortController;
  loop: Promise<void> | undefined;
}

/** Keeps services running: whatever ends is started again, until it is told to stop. */
export class Supervisor {
  readonly #entries = new Map<string, Entry>();
  readonly #onEvent: (event: SupervisorEvent) => void;
  readonly #onProcesses: (processes: { name: string; id: ProcessId }[]) => void;

  readonly #signal: AbortSignal | undefined;

  constructor(options: {
    onEvent: (event: SupervisorEvent) => void;
    /** Called with the full list after every change. */
    onProcesses: (processes: { name: string; id: ProcessId }[]) => void;
    /** Once aborted, nothing is started any more; what runs is ended by {@link stop}. */
    signal?: AbortSignal;
  }) {
    this.#onEvent = options.onEvent;
    this.#onProcesses = options.onProcesses;
    this.#signal = options.signal;
  }

  /** Starts a service and from then on keeps it running. @throws what its first start throws */
  async start(service: Service): Promise<void> {
    this.#signal?.throwIfAborted();
    const entry: Entry = {
      service,
      id: undefined,
      running: undefined,
      stopping: new AbortController(),
      loop: undefined,
    };
    this.#entries.set(service.name, entry);
    const first = this.#launch(entry);
    // Until the first start is over, stopping means waiting for it.
    entry.loop = first.then(
      (running) => this.#keep(entry, running),
      () => undefined,
    );
    await first;
  }

  /** Stops these services (all, when none are named) at the same time; none of them is restarted any more. */
  async stop(graceMs: number, names: readonly string[] = [...this.#entries.keys()]): Promise<void> {
    await Promise.all(
      names.map(async (name) => {
        const entry = this.#entries.get(name);
        if (!entry) return;
        entry.stopping.abort();
        await entry.running?.stop(graceMs);
        await entry.loop;
      }),
    );
  }

  async #launch(entry: Entry): Promise<Running> {
    const { signal } = entry.stopping;
    const running = await entry.service.start((pid) => this.#record(entry, processId(pid)), signal);
    entry.running = running;
    // Told to stop at the very end of its start.
    if (signal.aborted) await running.stop(0);
    return running;
  }

  async #keep(entry: Entry, first: Running): Promise<void> {
    const { name } = entry.service;
    const { signal } = entry.stopping;
    let running: Running | undefined = first;
    let startedAt = performance.now();
    let delayMs = 0;
    for (;;) {
      if (running) {
        const how = await running.ended;
        entry.running = undefined;
        this.#record(entry, undefined);
        if (signal.aborted) return;
        delayMs = nextDelayMs(delayMs, performance.now() - startedAt);
        this.#onEvent({ kind: 'ended', name, how, restartInMs: delayMs });
      }
      await sleep(delayMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      startedAt = performance.now();
      try {
        running = await this.#launch(entry);
        this.#onEvent({ kind: 'restarted', name, pid: running.pid });
      } catch (error) {
        running = undefined;
        this.#record(entry, undefined);
        if (signal.aborted) return;
        delayMs = nextDelayMs(delayMs, 0);
        this.#onEvent({ kind: 'failed', name, why: errorMessage(error), restartInMs: delayMs });
      }
    }
  }

  #record(entry: Entry, id: ProcessId | undefined): void {
    entry.id = id;
    this.#onProcesses([...this.#entries].flatMap(([name, { id }]) => (id ? [{ name, id }] : [])));
  }
}

import { Listr, PRESET_TIMER } from 'listr2';

/** One step of a longer job, shown with its progress and how long it took. */
export interface Step {
  title: string;
  /** Resolves with what came of it, a few words that are added to the title. */
  run(progress: (text: string) => void): Promise<string>;
  /** A step that may fail without the rest failing; its error is shown all the same. */
  optional?: boolean;
}

/** Without a terminal every progress text is a line of its own, so they come seldom. */
const PROGRESS_EVERY_MS = { terminal: 100, lines: 5000 };

/**
 * Runs the steps in order: a live list on a terminal, plain lines otherwise. None is begun once `signal` is aborted.
 * @throws what the first failing step threw, unless that one is optional; the signal's reason
 */
export async function runSteps(steps: readonly Step[], signal?: AbortSignal): Promise<void> {
  const terminal = process.stdout.isTTY === true;
  const everyMs = terminal ? PROGRESS_EVERY_MS.terminal : PROGRESS_EVERY_MS.lines;
  const tasks = steps.map((step) => ({
    title: step.title,
    exitOnError: !step.optional,
    task: async (_: unknown, task: { title: string; output: string }) => {
      signal?.throwIfAborted();
      let last = performance.now();
      const came = await step.run((text) => {
        if (performance.now() - last < everyMs) return;
        last = performance.now();
        task.output = text;
      });
      task.title = `${step.title}: ${came}`;
    },
  }));
  await new Listr(tasks, {
    renderer: terminal ? 'default' : 'simple',
    rendererOptions: { timer: { ...PRESET_TIMER, field: (ms: number) => `${(ms / 1000).toFixed(1)}s` } },
    // The caller decides what Ctrl-C means.
    registerSignalListeners: false,
  }).run();
  signal?.throwIfAborted();
}

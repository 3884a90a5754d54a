/** npm passes Ctrl-C on to a process that had it from the terminal already: so close together they are one. */
const SAME_SIGNAL_MS = 500;

/**
 * On the first SIGINT or SIGTERM `stopping` is aborted, so that everything ends in order; on a second one this process
 * ends at once, with exit code 130.
 */
export function abortOnSignals(stopping: AbortController): void {
  let firstAt: number | undefined;
  const onSignal = () => {
    const now = performance.now();
    if (firstAt === undefined) {
      firstAt = now;
      console.log('\nstopping; once more stops at once');
      stopping.abort(new Error('stopped'));
    } else if (now - firstAt > SAME_SIGNAL_MS) {
      process.exit(130);
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}

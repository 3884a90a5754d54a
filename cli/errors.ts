/**
 * A failure the person at the terminal can do something about; printed as one line, without a stack. The message says
 * what happened, to which thing, and what to do.
 */
export class CliError extends Error {
  override readonly name = 'CliError';
}

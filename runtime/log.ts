import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/**
 * The log of one process: JSON lines on standard output, level by `LOG_LEVEL` (default `info`). Headers, bodies and
 * environment values are never handed to it, so there is nothing to redact.
 */
export function createLog(process: string): Logger {
  return pino({
    name: process,
    level: globalThis.process.env.LOG_LEVEL || 'info',
    base: { pid: globalThis.process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}

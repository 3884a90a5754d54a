import type { Logger as SdkLogger } from '@temporalio/worker';
import type { Logger } from '../runtime/log.ts';

type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** The Temporal SDK's messages in our log; what it calls information is detail to us. */
export function sdkLog(log: Logger): SdkLogger {
  const write = (level: Level) => (message: string, meta?: object) =>
    log[level]({ ...meta, sdk: true }, message);
  const by = {
    TRACE: write('trace'),
    DEBUG: write('debug'),
    INFO: write('debug'),
    WARN: write('warn'),
    ERROR: write('error'),
  };
  return {
    log: (level, message, meta) => by[level](message, meta),
    trace: by.TRACE,
    debug: by.DEBUG,
    info: by.INFO,
    warn: by.WARN,
    error: by.ERROR,
  };
}

import { closeSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLogFile } from '../up/log-file.ts';
import type { Running, Service } from '../up/supervisor.ts';
import { startPostgres } from './postgres.ts';

/** The embedded PostgreSQL as a supervised service. */
export function postgresService(options: { dir: string; port: number; logFile: string }): {
  service: Service;
  url: string;
} {
  const start: Service['start'] = async (spawned, signal) => {
    const log = openLogFile(options.logFile);
    const server = await startPostgres({
      dir: options.dir,
      port: options.port,
      onLine: (line) => writeSync(log.fd, `${line}\n`),
      onSpawn: (pid) => {
        spawned(pid);
        signal.addEventListener('abort', () => signalProcess(pid, 'SIGINT'), { once: true });
      },
    });
    const child = server.process;
    const ended = new Promise<string>((resolve) => {
      child.once('close', (code, by) => {
        closeSync(log.fd);
        resolve(by ? `killed by ${by}` : `exit code ${code}`);
      });
    });
    const running: Running = {
      pid: child.pid ?? 0,
      ended,
      stop: async (graceMs) => {
        const late = sleep(graceMs, undefined, { ref: false }).then(() => child.kill('SIGQUIT'));
        // Fast shutdown first; the immediate one after `graceMs` costs a recovery at the next start, and no data.
        await Promise.race([server.stop(), late]);
        await ended;
      },
    };
    return running;
  };
  const url = `postgresql://postgres@127.0.0.1:${options.port}/postgres`;
  return { service: { name: 'postgres', start }, url };
}

function signalProcess(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

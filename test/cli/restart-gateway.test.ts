import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { restartGateway } from '../../cli/commands/restart-gateway.ts';
import { processId } from '../../cli/up/process-id.ts';
import { readState, writeState } from '../../cli/up/state.ts';

describe('cli: restart-gateway', () => {
  let dir: string;
  let before: string | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'restart-gateway-'));
    before = process.env.ENDPOINTS_DATA_DIR;
    process.env.ENDPOINTS_DATA_DIR = dir;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.ENDPOINTS_DATA_DIR;
    else process.env.ENDPOINTS_DATA_DIR = before;
    rmSync(dir, { recursive: true, force: true });
  });

  it('sends SIGHUP to the gateway of the data directory, and to nothing else', async () => {
    const gateway = spawn(process.execPath, [
      '-e',
      "process.on('SIGHUP', () => process.exit(7)); setInterval(() => {}, 1000); console.log('up');",
    ]);
    await once(gateway.stdout, 'data');
    const id = processId(gateway.pid ?? 0);
    assert.ok(id);
    const ended = once(gateway, 'exit');
    writeState(dir, { ...readState(dir), processes: [{ name: 'gateway', id }] });
    restartGateway();
    assert.deepEqual(await ended, [7, null]);
    // The number may be another process's by now.
    assert.throws(() => restartGateway(), /no gateway of .* runs here/);
  });
});

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../../cli/up/settings.ts';
import { ConfigError } from '../../runtime/config.ts';
import { endpoints, ROOT } from './support.ts';

const original = (name: string) => readFileSync(join(ROOT, name), 'utf8');

describe('cli: configuration', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'config-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  function write(name: string, text: string): string {
    const file = join(dir, name);
    writeFileSync(file, text);
    return file;
  }

  const settings = (env: NodeJS.ProcessEnv) => () => readSettings({ sample: false }, env);

  const oneLine = (message: string) => (error: unknown) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, message);
    return true;
  };

  it('names an unknown key with its path', () => {
    const file = write(
      'platform.yaml',
      original('platform.yaml').replace('  port: 8080', '  port: 8080\n  colour: red'),
    );
    assert.throws(settings({ PLATFORM_YAML: file }), oneLine(`${file}: api: Unrecognized key: "colour"`));
  });

  it('names a key of the wrong type with its path', () => {
    const file = write(
      'temporal.yaml',
      original('temporal.yaml').replace('retentionDays: 30', 'retentionDays: long'),
    );
    const message = `${file}: retentionDays: Invalid input: expected number, received string`;
    assert.throws(settings({ TEMPORAL_YAML: file }), oneLine(message));
  });

  it('names a file that is missing', () => {
    const file = join(dir, 'none.yaml');
    assert.throws(settings({ PLATFORM_YAML: file }), oneLine(`${file}: cannot be read (ENOENT)`));
  });

  it('names a file that is not YAML', () => {
    const file = write('platform.yaml', 'api: [\n');
    assert.throws(settings({ PLATFORM_YAML: file }), (error: Error) => {
      assert.match(error.message, new RegExp(`^${file}: not valid YAML: [^\n]+$`));
      return true;
    });
  });

  it('names the variable that set a bad value', () => {
    assert.throws(settings({ API_PORT: 'http' }), /platform\.yaml: api\.port: .* \(set by API_PORT\)$/);
    assert.throws(
      settings({ POSTGRES_PORT: '70000' }),
      /^CliError: POSTGRES_PORT is '70000': a port is a number/,
    );
  });

  it('is one line on the terminal and exit code 1', async () => {
    const file = join(dir, 'none.yaml');
    const outcome = await endpoints(['up'], { ...process.env, PLATFORM_YAML: file });
    assert.deepEqual(outcome, { code: 1, stdout: '', stderr: `error: ${file}: cannot be read (ENOENT)\n` });
  });

  it('takes the services of the environment instead of the embedded ones', () => {
    const own = readSettings({ sample: false }, {});
    assert.deepEqual(own.temporalServer, { host: '127.0.0.1', port: 7233, uiPort: 8233 });
    assert.deepEqual(own.database, { port: 15_432 });
    const env = {
      TEMPORAL_ADDRESS: 'temporal.example:7233',
      DATABASE_URL: 'postgresql://db.example/endpoints',
    };
    const external = readSettings({ sample: false }, env);
    assert.deepEqual(external.temporalServer, { address: 'temporal.example:7233' });
    assert.deepEqual(external.database, { url: 'postgresql://db.example/endpoints' });
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { checkFile, checkProject, importsOf, RULES } from './boundaries.ts';

const check = (file: string, source: string) => checkFile('/project', file, source).map((v) => v.message);

describe('lint: import boundaries', () => {
  it('hold in this project', () => {
    assert.deepEqual(checkProject(resolve(import.meta.dirname, '../..')), []);
  });

  it('are checked in every file of every folder that has a rule', () => {
    const root = mkdtempSync(join(tmpdir(), 'boundaries-'));
    try {
      for (const folder of Object.keys(RULES)) mkdirSync(join(root, folder));
      const planted = join(root, 'engines/deep/down/engine.ts');
      mkdirSync(dirname(planted), { recursive: true });
      writeFileSync(
        planted,
        "import { a } from '../../../spec/a.ts';\nimport { b } from '../../../store/b.ts';\n",
      );
      assert.deepEqual(checkProject(root), [
        { file: 'engines/deep/down/engine.ts', line: 2, message: 'engines/ may import spec, not store/b.ts' },
      ]);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('refuse a forbidden folder however it is imported', () => {
    const forms = [
      "import { openStore } from '../store/database.ts';",
      "import type { Store } from '../store/database.ts';",
      "import {\n  openStore,\n  type Store,\n} from '../store/database.ts';",
      "import * as store from '../store/database.ts';",
      "import store, { migrate } from '../store/database.ts';",
      "import '../store/database.ts';",
      "export { migrate } from '../store/database.ts';",
      "export * from '../store/database.ts';",
      "const store = await import('../store/database.ts');",
    ];
    for (const form of forms) {
      assert.deepEqual(
        check('spec/a.ts', form),
        ['spec/ may import nothing of ours, not store/database.ts'],
        form,
      );
    }
  });

  it("let workflows have the activities' types, and nothing of theirs at run time", () => {
    const from = "from '../activities/interfaces.ts';";
    assert.deepEqual(check('workflows/a.ts', `import type { ControlActivities } ${from}`), []);
    assert.match(
      check('workflows/a.ts', `import { type ControlActivities } ${from}`)[0] ?? '',
      /as types only/,
    );
    assert.match(
      check('workflows/a.ts', "import type { A } from '../activities/seal.ts';")[0] ?? '',
      /not activities\/seal/,
    );
  });

  it('let workflows load only packages that are deterministic', () => {
    assert.deepEqual(check('workflows/a.ts', "import { sleep } from '@temporalio/workflow';"), []);
    assert.match(check('workflows/a.ts', "import { readFile } from 'node:fs';")[0] ?? '', /not 'node:fs'/);
  });

  it("let an API file import the workflows' messages but no workflow", () => {
    assert.deepEqual(check('api/control/a.ts', "import { wake } from '../../workflows/messages.ts';"), []);
    assert.equal(check('api/control/a.ts', "import { e } from '../../workflows/endpoint.ts';").length, 1);
  });

  it('tell the line of an import', () => {
    assert.deepEqual(importsOf("// first\nimport a from 'a';\n\nimport type {\n  B,\n} from './b.ts';\n"), [
      { specifier: 'a', typeOnly: false, line: 2 },
      { specifier: './b.ts', typeOnly: true, line: 6 },
    ]);
  });
});

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { selectGguf } from '../../engines/gguf.ts';
import { matchesGlob } from '../../engines/glob.ts';
import type { LlamacppImage } from '../../spec/images.ts';

const file = (path: string) => ({ path, sizeBytes: 1, sha256: null, gitSha1: null });
const repository = (...paths: string[]) => paths.map(file);
const settings = (change: Partial<LlamacppImage>): LlamacppImage => ({
  url: 'x',
  ctxSize: 0,
  nParallel: 1,
  threadsHttp: 1,
  modelPath: 'm-Q4.gguf',
  ...change,
});

function selected(paths: string[], change: Partial<LlamacppImage> = {}): string[] {
  const result = selectGguf(repository(...paths), settings(change));
  assert.ok(result.ok, JSON.stringify(result));
  return result.files.map((f) => f.path);
}

function refused(paths: string[], change: Partial<LlamacppImage> = {}): string {
  const result = selectGguf(repository(...paths), settings(change));
  assert.ok(!result.ok);
  assert.equal(result.code, 'NO_USABLE_FILE');
  return result.message;
}

describe('files of a GGUF repository', () => {
  it('takes the one file of the settings and none of the other quantisations', () => {
    assert.deepEqual(selected(['README.md', 'm-Q4.gguf', 'm-Q8.gguf']), ['m-Q4.gguf']);
  });

  it('takes every part of a model in parts, and the projector', () => {
    const parts = ['d/m-00001-of-00003.gguf', 'd/m-00002-of-00003.gguf', 'd/m-00003-of-00003.gguf'];
    const all = [...parts, 'm-00001-of-00002.gguf', 'proj.gguf'];
    assert.deepEqual(selected(all, { modelPath: parts[0] ?? '', mmprojModelPath: 'proj.gguf' }), [
      ...parts,
      'proj.gguf',
    ]);
  });

  it('adds what the variant matches, GGUF files only', () => {
    assert.deepEqual(selected(['m-Q4.gguf', 'x-Q4.gguf', 'Q4.md', 'm-Q8.gguf'], { variant: '*Q4*' }), [
      'm-Q4.gguf',
      'x-Q4.gguf',
    ]);
  });

  it('names the GGUF files there are when the wanted one is missing', () => {
    assert.match(
      refused(['a.gguf', 'b.GGUF', 'c.md']),
      /no file 'm-Q4\.gguf'.*modelPath.*: a\.gguf, b\.GGUF$/,
    );
  });

  it('says so when there is no GGUF file at all', () => {
    assert.match(refused(['model.safetensors']), /no GGUF file at all/);
  });

  it('names the missing part', () => {
    assert.match(
      refused(['m-00001-of-00002.gguf'], { modelPath: 'm-00001-of-00002.gguf' }),
      /no file 'm-00002-of-00002\.gguf', a part of 'm-00001-of-00002\.gguf'/,
    );
  });

  it('names the first part when another one is given', () => {
    const parts = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'];
    assert.match(refused(parts, { modelPath: parts[1] ?? '' }), /set it to 'm-00001-of-00002\.gguf'/);
  });

  it('names the field of a missing projector', () => {
    assert.match(refused(['m-Q4.gguf'], { mmprojModelPath: 'p.gguf' }), /mmprojModelPath/);
  });
});

const TRANSLATION = new Map([
  ['*', '[^]*'],
  ['?', '[^]'],
  ['.', '\\.'],
  ['/', '\\/'],
]);

describe('glob', () => {
  const cases: [string, string, boolean][] = [
    ['*Q4_K_M*.gguf', 'dir/model-Q4_K_M.gguf', true],
    ['*Q4_K_M*.gguf', 'model-Q5_K_M.gguf', false],
    ['m?.gguf', 'm1.gguf', true],
    ['m?.gguf', 'm.gguf', false],
    ['[ab]*', 'banana', true],
    ['[!ab]*', 'banana', false],
    ['Q[3-5]', 'Q4', true],
    ['Q[3-5]', 'Q6', false],
    ['[]]', ']', true],
    ['a[b', 'a[b', true],
    ['', '', true],
    ['*', '', true],
    ['a.c', 'abc', false],
  ];
  for (const [pattern, text, expected] of cases) {
    it(`'${pattern}' ${expected ? 'matches' : 'does not match'} '${text}'`, () =>
      assert.equal(matchesGlob(text, pattern), expected));
  }

  it('agrees with a regular expression on patterns of *, ? and plain characters', () => {
    const piece = fc.constantFrom('a', 'b', '/', '.', '*', '?');
    const plain = fc.constantFrom('a', 'b', '/', '.');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), fc.array(plain, { maxLength: 8 }), (pattern, text) => {
        const translated = pattern.map((c) => TRANSLATION.get(c) ?? c).join('');
        assert.equal(
          matchesGlob(text.join(''), pattern.join('')),
          new RegExp(`^${translated}$`).test(text.join('')),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('stays fast on a pattern of many stars', () => {
    const started = process.cpuUsage().user;
    assert.equal(matchesGlob('a'.repeat(500), `${'*a'.repeat(120)}b`), false);
    assert.ok(process.cpuUsage().user - started < 500_000);
  });
});

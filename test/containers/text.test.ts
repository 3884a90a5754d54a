import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { jsonLines } from '../../activities/containers/docker.ts';
import { demultiplex, tailOf } from '../../activities/containers/logs.ts';
import { redact } from '../../activities/containers/redact.ts';
import { newHostKey, seal, unseal } from '../../activities/seal.ts';

function frame(stream: 1 | 2, text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

describe('log of a container', () => {
  it('is read from both streams in their order', () => {
    const frames = [frame(1, 'a\n'), frame(2, 'ä'.slice(0, 1)), frame(2, '\n'), frame(1, 'b')];
    assert.equal(demultiplex(Buffer.concat(frames)), 'a\nä\nb');
  });

  it('keeps a character that was cut between two frames', () => {
    const [one, two] = [Buffer.from('ä').subarray(0, 1), Buffer.from('ä').subarray(1)];
    const header = (length: number) => Buffer.from([1, 0, 0, 0, 0, 0, 0, length]);
    assert.equal(demultiplex(Buffer.concat([header(1), one, header(1), two])), 'ä');
  });

  it('is cut to whole lines and at most so many bytes, from the end', () => {
    assert.equal(tailOf('one\ntwo\nthree', 8), 'three');
    assert.equal(tailOf('one\ntwo', 100), 'one\ntwo');
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        const tail = tailOf(text, 64);
        assert.ok(Buffer.byteLength(tail) <= 64);
        assert.ok(Buffer.from(text).toString('utf8').endsWith(tail));
      }),
    );
  });
});

describe('secrets in text', () => {
  it('are replaced in every form a program may print', () => {
    const secret = 'pa"ss wörd/1';
    const text = `${secret} ${JSON.stringify({ secret })} ${encodeURIComponent(secret)}`;
    assert.equal(redact(text, [secret]), '[secret] {"secret":"[secret]"} [secret]');
  });

  it('are replaced line by line when they have several', () => {
    assert.equal(
      redact('x: first-line\ny: second-line', ['first-line\nsecond-line']),
      'x: [secret]\ny: [secret]',
    );
  });

  it('leave no rest when one contains another', () => {
    assert.equal(redact('abcdefgh', ['abcd', 'abcdefgh']), '[secret]');
  });

  it('that are empty or tiny do not eat the text', () => {
    assert.equal(redact('a 1 b', ['', '1', ' ']), 'a 1 b');
  });
});

describe("the engine's streams of JSON lines", () => {
  it('are read whole, however they are cut', async () => {
    const text = Buffer.from('{"a":"ä"}\n{"a":2}\n\n{"a":3}');
    const pieces = Array.from(text, (byte) => Buffer.from([byte]));
    const lines = [];
    for await (const line of jsonLines(Readable.from(pieces))) lines.push(line);
    assert.deepEqual(lines, [{ a: 'ä' }, { a: 2 }, { a: 3 }]);
  });

  it('throw when the connection breaks', async () => {
    const stream = new Readable({ read: () => undefined });
    stream.push('{"a":1}\n');
    const reading = (async () => {
      for await (const _ of jsonLines(stream)) stream.destroy();
    })();
    await assert.rejects(reading);
  });
});

describe('sealed secrets', () => {
  const secrets = {
    env: { TOKEN: 'very secret' },
    registry: { username: 'u', password: 'p' },
    hubToken: null,
    engineKey: 'key',
  };

  it('are opened by the host they were sealed for', async () => {
    const { publicKey, privateKey } = await newHostKey();
    const sealed = await seal(publicKey, secrets);
    assert.equal(sealed.split('.').length, 5);
    assert.deepEqual(await unseal(privateKey, sealed), secrets);
  });

  it('hold the private half of the key nowhere in the public one', async () => {
    assert.equal('d' in (await newHostKey()).publicKey, false);
  });

  it('are not opened by another host, nor after a change', async () => {
    const [one, two] = await Promise.all([newHostKey(), newHostKey()]);
    const sealed = await seal(one.publicKey, secrets);
    await assert.rejects(unseal(two.privateKey, sealed), /not sealed for this host/);
    const parts = sealed.split('.');
    const changed = [...parts.slice(0, 4), 'A'.repeat(parts[4]?.length ?? 0)].join('.');
    await assert.rejects(unseal(one.privateKey, changed), /not sealed for this host/);
  });
});

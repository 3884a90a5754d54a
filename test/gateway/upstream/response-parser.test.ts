import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type ResponseHead, ResponseParser } from '../../../api/gateway/upstream/response-parser.ts';

/** What was read of one response. */
interface Read {
  head: ResponseHead | null;
  body: string;
  ended: boolean;
  keepAlive: boolean | null;
  error: string | null;
}

/** Reads the pieces one after the other, each from a buffer that is overwritten afterwards. */
function read(pieces: readonly string[], options: { bodiless?: boolean; close?: boolean } = {}): Read {
  const found: Read = { head: null, body: '', ended: false, keepAlive: null, error: null };
  const parts: Buffer[] = [];
  const parser: ResponseParser = new ResponseParser({
    onHead: (head) => {
      assert.equal(found.head, null, 'one head');
      found.head = head;
    },
    onBody: (bytes) => {
      assert.ok(found.head && !found.ended && bytes.length > 0);
      parts.push(bytes);
    },
    onEnd: () => {
      assert.equal(found.ended, false, 'one end');
      found.ended = true;
      found.keepAlive = parser.keepAlive;
    },
  });
  parser.begin(options.bodiless ?? false);
  const shared = Buffer.alloc(128 * 1024, '\r\n\r\n');
  for (const piece of pieces) {
    const length = shared.write(piece, 'latin1');
    found.error = parser.execute(shared, length);
    shared.fill('\r\n0\r\n\r\n', 0, length);
    if (found.error !== null || found.ended) break;
  }
  if (options.close && found.error === null) parser.finish();
  found.body = Buffer.concat(parts).toString('latin1');
  return found;
}

const head = (...lines: string[]) => `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;

describe('gateway: reading an engine’s answer', () => {
  it('reads a head as it is, and a body of a length', () => {
    const got = read([`${head('Content-Type: text/plain', 'X-Ü:  a b\t', 'content-LENGTH: 5')}hello`]);
    // Not a name: the line is refused.
    assert.match(got.error ?? '', /not one of HTTP\/1\.1/);
    const {
      head: found,
      body,
      ended,
      keepAlive,
    } = read([`${head('Content-Type: text/plain', 'X-U:  a \xfc\t', 'content-LENGTH: 5', 'x-u:')}hello`]);
    assert.deepEqual(found, {
      status: 200,
      statusMessage: 'OK',
      headers: ['Content-Type', 'text/plain', 'X-U', 'a \xfc', 'content-LENGTH', '5', 'x-u', ''],
      contentType: 'text/plain',
      encoded: false,
    });
    assert.deepEqual([body, ended, keepAlive], ['hello', true, true]);
  });

  it('changes no byte of a value, and takes long heads', () => {
    const bytes = Array.from({ length: 0x80 }, (_, i) => String.fromCharCode(0x80 + i)).join('');
    const long = 'a b'.repeat(10_000);
    const got = read([head('Content-Length: 0', `X: ${bytes}`, `Y:\t ${bytes}\xa0 \t`, `Z: ${long}`)]);
    assert.deepEqual(got.head?.headers, ['Content-Length', '0', 'X', bytes, 'Y', `${bytes}\xa0`, 'Z', long]);
  });

  it('reads chunks, passes over their extensions and the trailer', () => {
    const got = read([
      `${head('Transfer-Encoding: Chunked')}5;a="b"\r\nhello\r\n00B\r\n, the world\r\n0\r\nX-T: 1\r\ny:2\r\n\r\n`,
    ]);
    assert.deepEqual([got.body, got.ended, got.keepAlive, got.error], ['hello, the world', true, true, null]);
  });

  it('knows which answers have no body', () => {
    for (const [text, bodiless] of [
      ['HTTP/1.1 204 No Content\r\n\r\n', false],
      ['HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n', false],
      [head('Content-Length: 10'), true],
      [head('Transfer-Encoding: chunked'), true],
      [head('Content-Length: 0'), false],
      ['HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', false],
    ] as const) {
      const got = read([text], { bodiless });
      assert.deepEqual([got.ended, got.keepAlive, got.body], [true, true, ''], text);
    }
  });

  it('reads until the connection ends where no length is told, and not to the end of one that is', () => {
    const open = read([`${head()}one`, ' two'], { close: true });
    assert.deepEqual([open.body, open.ended, open.keepAlive], ['one two', true, false]);
    for (const cut of [
      '',
      'HTTP/1.1 200 OK\r\n',
      `${head('Content-Length: 5')}hell`,
      `${head('Transfer-Encoding: chunked')}5\r\nhello\r\n`,
      `${head('Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n`,
    ])
      assert.equal(read([cut], { close: true }).ended, false, cut);
  });

  it('passes over interim answers, but not over a change of protocol', () => {
    const got = read([
      `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${head('Content-Length: 1')}x`,
    ]);
    assert.deepEqual([got.head?.status, got.body, got.ended], [200, 'x', true]);
    assert.match(read(['HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n']).error ?? '', /another protocol/);
  });

  it('says whether, and how long, the connection can be used again', () => {
    const keeps = (...lines: string[]) => read([head('Content-Length: 0', ...lines)]).keepAlive;
    assert.deepEqual(
      [keeps(), keeps('Connection: keep-alive'), keeps('connection: X, Close'), keeps('Connection: close')],
      [true, true, false, false],
    );
    assert.equal(read(['HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n']).keepAlive, false);
    // More than the answer: what it is part of cannot be known.
    assert.equal(read([`${head('Content-Length: 1')}xHTTP/1.1 200 OK\r\n`]).keepAlive, false);
    assert.equal(read([`${head('Transfer-Encoding: chunked')}0\r\n\r\nx`]).keepAlive, false);
    assert.equal(read([`${head('Content-Length: 0')}x`]).keepAlive, false);
    const sink = { onHead: () => undefined, onBody: () => undefined, onEnd: () => undefined };
    const parser = new ResponseParser(sink);
    parser.begin(false);
    const text = Buffer.from(head('Content-Length: 0', 'Keep-Alive: timeout=5, max=100'));
    assert.equal(parser.execute(text, text.length), null);
    assert.equal(parser.keepAliveSeconds, 5);
  });

  const refused: Record<string, string> = {
    'no HTTP': 'SSH-2.0-OpenSSH\r\n\r\n',
    'HTTP/2': 'HTTP/2 200 OK\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
    'a status of nothing': 'HTTP/1.1 099 X\r\n\r\n',
    'a blank before the colon': head('Content-Length : 5'),
    'a folded line': head('X: a', ' b'),
    'a bare line feed': head('X: a\nContent-Length: 5'),
    'a bare carriage return': head('X: a\rb'),
    'a null byte': head('X: \0'),
    'no colon': head('Content-Length 5'),
    'no name': head(': x'),
    'two lengths': head('Content-Length: 5', 'Content-Length: 6'),
    'the same length twice': head('Content-Length: 5', 'content-length: 5'),
    'a list of lengths': head('Content-Length: 5, 5'),
    'a signed length': head('Content-Length: +5'),
    'a length of hexadecimals': head('Content-Length: 0x5'),
    'no length': head('Content-Length:'),
    'a length beyond counting': head(`Content-Length: ${'9'.repeat(17)}`),
    'a length and chunks': head('Content-Length: 5', 'Transfer-Encoding: chunked'),
    'another coding': head('Transfer-Encoding: gzip, chunked'),
    'chunks not last': head('Transfer-Encoding: chunked, identity'),
    'chunks twice': head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'),
    'chunks in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'a head without end': `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(8000)}`,
    'a long head': head(`X: ${'y'.repeat(40_000)}`),
    ...Object.fromEntries(
      [
        'x\r\n',
        '\r\n',
        '-1\r\n',
        '0x5\r\n',
        '5 \r\n',
        '5\n',
        '5\rx',
        ';a\r\n',
        `${'0'.repeat(14)}1\r\n`,
        '5\r\nhello!\n',
        '5\r\nhello\rx',
        '5\r\nhelloX\r\n',
        '5;a\nb\r\n',
        `1;${'e'.repeat(20_000)}`,
        '0\r\nX: y\n',
        '0\r\n\rx',
        `0\r\n${'X: y\r\n'.repeat(8000)}`,
      ].map((chunk) => [
        `chunk ${JSON.stringify(chunk.slice(0, 20))}`,
        head('Transfer-Encoding: chunked') + chunk,
      ]),
    ),
  };
  it('refuses what two readers could take for different answers', () => {
    for (const [what, text] of Object.entries(refused)) {
      const { error, ended } = read([text]);
      assert.ok(error !== null && !ended, what);
    }
  });

  /** A response and what it is to be read as. */
  const part = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 30 });
  const response = fc.record({
    parts: fc.array(part, { maxLength: 6 }),
    chunked: fc.boolean(),
    hints: fc.boolean(),
  });
  const wire = ({ parts, chunked, hints }: { parts: string[]; chunked: boolean; hints: boolean }) => {
    const body = parts.join('');
    const chunks = parts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('');
    const framed = chunked
      ? `${head('Transfer-Encoding: chunked')}${chunks}0\r\n\r\n`
      : `${head(`Content-Length: ${body.length}`)}${body}`;
    return { body, text: (hints ? 'HTTP/1.1 103 Early Hints\r\n\r\n' : '') + framed };
  };

  it('reads the same wherever the bytes are cut', () => {
    fc.assert(
      fc.property(response, fc.array(fc.nat(400), { maxLength: 12 }), (made, cuts) => {
        const { body, text } = wire(made);
        const places = [0, ...cuts.map((cut) => cut % text.length).sort((a, b) => a - b), text.length];
        const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
        const got = read(pieces);
        assert.deepEqual([got.error, got.body, got.ended, got.keepAlive], [null, body, true, true]);
        const bytes = read([...text]);
        assert.deepEqual([bytes.error, bytes.body, bytes.ended], [null, body, true]);
      }),
      { numRuns: 1000 },
    );
  });

  it('never takes a part for the whole, and ends in an answer or an error whatever bytes come', () => {
    fc.assert(
      fc.property(
        response,
        fc.nat(),
        fc.string({ unit: 'binary-ascii', maxLength: 3 }),
        (made, at, other) => {
          const { text } = wire(made);
          const place = at % text.length;
          assert.equal(read([text.slice(0, place)], { close: true }).ended, false);
          const changed = text.slice(0, place) + other + text.slice(place + 1);
          const whole = read([changed], { close: true });
          const bytewise = read([...changed], { close: true });
          assert.equal(whole.error, bytewise.error);
          assert.equal(whole.ended, bytewise.ended);
          if (whole.ended) assert.equal(whole.body, bytewise.body);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

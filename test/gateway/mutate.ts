/** Random but repeatable: the same seed gives the same numbers (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** What has meaning in a message, and what has none but looks as if. */
const PIECES = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\r\n\r\n',
    '\0',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '%',
    '/',
    '\\',
    '..',
    '\x7f',
    '\xff',
    '\x0b',
    '{',
    '"',
  ],
  ...['Content-Length: 5', 'Content-Length: 0', 'content-length: 18446744073709551616', 'Content-Length: -1'],
  ...['Transfer-Encoding: chunked', 'Transfer-Encoding: identity', 'TE: trailers', 'Connection: close'],
  ...['Connection: keep-alive, content-length', 'Upgrade: websocket', 'Upgrade: h2c', 'Expect: 100-continue'],
  ...[
    'Host: y',
    'Authorization: Bearer x',
    'X-Forwarded-For: 1.2.3.4',
    'Trailer: x',
    '__proto__: 1',
    'X-Scale-Up-Timeout: 0',
  ],
  ...[
    'HTTP/1.0',
    'HTTP/2.0',
    'HTTP/1.1',
    'GET ',
    'PRI * HTTP/2.0',
    '0\r\n\r\n',
    'ffffffffffffffff',
    '5;a=b',
    'chunked',
  ],
];

/** A valid request of some kind that carries `mark` in its path, a header and its body. */
export function validRequest(random: (below: number) => number, base: string, mark: string): string {
  const method = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH'][random(7)] ?? 'GET';
  const lines = [`${method} ${base}/${mark}?m=${mark} HTTP/1.1`, 'Host: x', `X-Mark: ${mark}`];
  if (random(3) === 0) lines.push('Accept: */*', 'User-Agent: fuzz');
  const body = `{"mark":"${mark}"}`.padEnd(random(4) === 0 ? 2000 : 20);
  const framing = random(4);
  if (framing === 0) return `${lines.join('\r\n')}\r\n\r\n`;
  if (framing === 1) {
    const half = random(body.length);
    const chunk = (text: string) => (text ? `${text.length.toString(16)}\r\n${text}\r\n` : '');
    const chunks = chunk(body.slice(0, half)) + chunk(body.slice(half));
    return `${[...lines, 'Transfer-Encoding: chunked'].join('\r\n')}\r\n\r\n${chunks}0\r\n\r\n`;
  }
  return `${[...lines, `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`;
}

/** The message with one to three random faults: bytes flipped, cut, doubled, pieces put in, lines swapped or repeated. */
export function mutate(random: (below: number) => number, message: string): string {
  let text = message;
  for (let faults = 1 + random(3); faults > 0; faults--) text = mutateOnce(random, text);
  return text;
}

function mutateOnce(random: (below: number) => number, text: string): string {
  // Most of what matters stands in the head.
  const at = random(random(3) ? Math.min(text.length, 200) : text.length || 1);
  const length = 1 + random(8);
  switch (random(8)) {
    case 0:
      return text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + text.slice(at + length);
    case 2:
      return text.slice(0, at) + text.slice(at, at + length) + text.slice(at);
    case 3:
    case 4:
      return text.slice(0, at) + (PIECES[random(PIECES.length)] ?? '') + text.slice(at);
    case 5: {
      const lines = text.split('\r\n');
      const line = 1 + random(Math.max(1, lines.length - 1));
      lines.splice(line, 0, PIECES[random(PIECES.length)] ?? '');
      return lines.join('\r\n');
    }
    case 6: {
      const lines = text.split('\r\n');
      const [line = ''] = lines.splice(random(lines.length), 1);
      lines.splice(random(lines.length + 1), 0, line, ...(random(2) ? [line] : []));
      return lines.join('\r\n');
    }
    default:
      return text.slice(0, at);
  }
}

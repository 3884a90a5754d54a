type Token =
  | { kind: 'run' }
  | { kind: 'any' }
  | { kind: 'set'; negated: boolean; ranges: [string, string][] }
  | { kind: 'char'; char: string };

/**
 * Shell-style matching as the Hub's clients do it: `*` any run of characters (also `/`), `?` one character, `[abc]`,
 * `[a-z]`, `[!a-z]`. Written out instead of translated to a regular expression, because a pattern comes from a user and
 * many `*` make a regular expression take exponential time; this takes at most pattern × text steps.
 */
export function matchesGlob(text: string, pattern: string): boolean {
  const tokens = parse(pattern);
  let at = 0;
  let token = 0;
  let runToken = -1;
  let runEnd = 0;
  while (at < text.length) {
    const wanted = tokens[token];
    if (wanted?.kind === 'run') {
      runToken = token++;
      runEnd = at;
    } else if (wanted && matchesOne(wanted, text.charAt(at))) {
      token++;
      at++;
    } else if (runToken >= 0) {
      // The last `*` takes one character more, and the rest is tried again behind it.
      token = runToken + 1;
      at = ++runEnd;
    } else {
      return false;
    }
  }
  return tokens.slice(token).every((rest) => rest.kind === 'run');
}

function matchesOne(token: Token, char: string): boolean {
  if (token.kind === 'char') return token.char === char;
  if (token.kind === 'set')
    return token.ranges.some(([from, to]) => from <= char && char <= to) !== token.negated;
  return token.kind === 'any';
}

function parse(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern.charAt(i);
    const set = char === '[' ? parseSet(pattern, i) : null;
    if (set) {
      tokens.push(set.token);
      i = set.end;
    } else if (char === '*') {
      tokens.push({ kind: 'run' });
    } else {
      tokens.push(char === '?' ? { kind: 'any' } : { kind: 'char', char });
    }
  }
  return tokens;
}

/** Null when the bracket is never closed: then it stands for itself. */
function parseSet(pattern: string, start: number): { token: Token; end: number } | null {
  const negated = pattern.charAt(start + 1) === '!';
  const first = start + (negated ? 2 : 1);
  // A `]` right after the opening is a member, not the end.
  const end = pattern.indexOf(']', first + 1);
  if (end < 0) return null;
  const body = pattern.slice(first, end);
  const ranges: [string, string][] = [];
  for (let i = 0; i < body.length; i++) {
    if (body.charAt(i + 1) === '-' && i + 2 < body.length) {
      ranges.push([body.charAt(i), body.charAt(i + 2)]);
      i += 2;
    } else {
      ranges.push([body.charAt(i), body.charAt(i)]);
    }
  }
  return { token: { kind: 'set', negated, ranges }, end };
}

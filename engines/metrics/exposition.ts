/** One line of an exposition: a number under a name, told from its siblings by labels. */
export interface Sample {
  name: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** Far more than the wanted series of any engine; a text that has more is not read to its end. */
const MAX_SAMPLES = 5000;

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(,|(?=\}))/y;
/** Value and, in some versions of the format, a time stamp or an exemplar behind it. */
const VALUE = /^\s*(\S+)(?:\s|$)/;

/**
 * Reads the samples of some names out of a text in Prometheus' or OpenMetrics' exposition format. A line that is
 * neither is passed over, as is a value that is no finite number: a text that is something else altogether has no samples.
 */
export function readSamples(text: string, wanted: (name: string) => boolean): Sample[] {
  const samples: Sample[] = [];
  for (let at = 0; at < text.length && samples.length < MAX_SAMPLES; ) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline;
    const sample = text[at] === '#' ? null : readLine(text.slice(at, end), wanted);
    if (sample) samples.push(sample);
    at = end + 1;
  }
  return samples;
}

function readLine(line: string, wanted: (name: string) => boolean): Sample | null {
  const [name] = NAME.exec(line) ?? [];
  if (name === undefined || !wanted(name)) return null;
  const labelled = readLabels(line, name.length);
  if (!labelled) return null;
  const [, number] = VALUE.exec(line.slice(labelled.end)) ?? [];
  const value = numberOf(number);
  return value === null ? null : { name, labels: labelled.labels, value };
}

function readLabels(line: string, from: number): { labels: Record<string, string>; end: number } | null {
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  if (line[from] !== '{') return /\s/.test(line[from] ?? '') ? { labels, end: from } : null;
  let at = from + 1;
  while (line[at] !== '}') {
    LABEL.lastIndex = at;
    const found = LABEL.exec(line);
    if (!found) return null;
    labels[found[1] ?? ''] = (found[2] ?? '').replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    at = LABEL.lastIndex;
  }
  return { labels, end: at + 1 };
}

function numberOf(text: string | undefined): number | null {
  if (text === undefined || !/^[+-]?(\d|\.\d)/.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

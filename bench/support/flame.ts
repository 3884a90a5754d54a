import { readFile } from 'node:fs/promises';

/** A frame of a flame graph: its own time and that of all it called, in the profile's units. */
interface Frame {
  name: string;
  self: number;
  total: number;
  children: Map<string, Frame>;
}

interface CpuProfile {
  nodes: {
    id: number;
    callFrame: { functionName: string; url: string; lineNumber: number };
    children?: number[];
  }[];
  samples: number[];
  /** Microseconds since the sample before. */
  timeDeltas: number[];
}

const WIDTH = 1200;
const ROW = 17;
/** Narrower than this there is nothing to see. */
const MIN_WIDTH = 0.6;
/** A gap this long between two samples is time the process did not run. */
const DESCHEDULED_US = 5000;

/**
 * The last seconds of a V8 CPU profile (`--cpu-prof`) as an SVG flame graph, garbage collection included and idle time left
 * out. Frames too narrow to see are dropped; each one's share stands in its tooltip.
 */
export async function flameGraph(
  profileFile: string,
  { title, lastSeconds }: { title: string; lastSeconds: number },
): Promise<string> {
  const profile = JSON.parse(await readFile(profileFile, 'utf8')) as CpuProfile;
  return draw(tree(profile, lastSeconds * 1e6), title);
}

function tree({ nodes, samples, timeDeltas }: CpuProfile, lastMicros: number): Frame {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])));
  const root = frame('all');
  let before = timeDeltas.reduce((sum, delta) => sum + delta, 0);
  samples.forEach((sample, i) => {
    const micros = timeDeltas[i] ?? 0;
    before -= micros;
    if (before > lastMicros || micros <= 0 || micros > DESCHEDULED_US) return;
    const path: string[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const node = byId.get(id);
      if (node && node.callFrame.functionName !== '(root)') path.unshift(nameOf(node.callFrame));
    }
    if (path.at(-1) === '(idle)') return;
    let at = root;
    at.total += micros;
    for (const name of path) {
      const next = at.children.get(name) ?? frame(name);
      at.children.set(name, next);
      next.total += micros;
      at = next;
    }
    at.self += micros;
  });
  return root;
}

function frame(name: string): Frame {
  return { name, self: 0, total: 0, children: new Map() };
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url
    .replace(/^.*\/node_modules\//, '')
    .replace(/^file:\/\/.*\/(api|bench|runtime|store|spec)\//, '$1/');
  const name = functionName || '(anonymous)';
  return url ? `${name} ${file}:${lineNumber + 1}` : name;
}

function draw(root: Frame, title: string): string {
  const boxes: string[] = [];
  let depth = 0;
  const place = (at: Frame, x: number, level: number) => {
    const width = (at.total / root.total) * WIDTH;
    if (width < MIN_WIDTH) return;
    depth = Math.max(depth, level);
    boxes.push(box(at, root.total, x, level, width));
    let left = x;
    for (const child of [...at.children.values()].sort((a, b) => b.total - a.total)) {
      place(child, left, level + 1);
      left += (child.total / root.total) * WIDTH;
    }
  };
  place(root, 0, 0);
  const height = (depth + 2) * ROW + 14;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" font-family="monospace" font-size="11">
<title>${escaped(title)}</title>
<text x="4" y="14" font-size="13">${escaped(title)}</text>
<g transform="translate(0 22)">
${boxes.join('\n')}
</g>
</svg>
`;
}

function box(at: Frame, whole: number, x: number, level: number, width: number): string {
  const share = `${((at.total / whole) * 100).toFixed(1)} %`;
  const label = width > 40 ? at.name.slice(0, Math.floor((width - 6) / 6.7)) : '';
  const text = label
    ? `<text x="${(x + 3).toFixed(1)}" y="${level * ROW + 12}">${escaped(label)}</text>`
    : '';
  return `<g><title>${escaped(`${at.name}, ${share}`)}</title><rect x="${x.toFixed(1)}" y="${level * ROW}" width="${Math.max(width - 0.4, 0.2).toFixed(1)}" height="${ROW - 1}" fill="${colour(at.name)}"/>${text}</g>`;
}

/** Ours, Node, and what is neither. */
function colour(name: string): string {
  if (name === '(garbage collector)') return '#e06666';
  if (/ (api|store|spec|runtime)\//.test(name)) return '#f6b26b';
  if (name.includes(' node:')) return '#9fc5e8';
  return '#d9d2c5';
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

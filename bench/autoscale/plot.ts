import type { Outcome } from './simulate.ts';
import { SLOTS } from './simulate.ts';
import type { Trace } from './traces.ts';

const WIDTH = 760;
const HEIGHT = 240;
const LEFT = 36;
const TOP = 30;
const PLOT_WIDTH = WIDTH - LEFT - 12;
const PLOT_HEIGHT = HEIGHT - TOP - 30;
const COLORS = ['#1b7837', '#d95f02', '#7570b3'];
/** Seconds for each point; finer would only be thicker lines. */
const EVERY = 10;

/** Replicas ordered over time by each policy, over the number that the load itself keeps busy, as an SVG. */
export function plot(trace: Trace, outcomes: readonly Outcome[]): string {
  const seconds = trace.arrivals.length;
  const most = Math.max(...outcomes.flatMap((o) => o.ordered));
  const x = (second: number) => (LEFT + (PLOT_WIDTH * second) / seconds).toFixed(1);
  const y = (replicas: number) => (TOP + PLOT_HEIGHT * (1 - replicas / most)).toFixed(1);
  const points = Array.from({ length: Math.floor(seconds / EVERY) }, (_, i) => i * EVERY);
  const busy = (second: number) => {
    const around = trace.arrivals.slice(Math.max(0, second - 15), second + 15);
    return around.reduce((sum, n) => sum + n, 0) / around.length / SLOTS;
  };
  const area = points.map((s) => `L${x(s)} ${y(Math.min(most, busy(s)))}`).join('');
  const line = ({ ordered }: Outcome) =>
    points
      .map((s, i) => (i === 0 ? `M${x(s)} ${y(ordered[s] ?? 0)}` : `H${x(s)}V${y(ordered[s] ?? 0)}`))
      .join('');
  const minutes = Array.from({ length: Math.floor(seconds / 600) + 1 }, (_, i) => i * 600);
  const rows = Array.from({ length: Math.floor(most / 4) + 1 }, (_, i) => i * 4);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<title>${trace.name}: replicas ordered over time by three policies</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...rows.map(
      (r) =>
        `<path d="M${LEFT} ${y(r)}H${WIDTH - 12}" stroke="#e5e5e5"/><text x="${LEFT - 6}" y="${y(r)}" text-anchor="end" dy="4">${r}</text>`,
    ),
    ...minutes.map((s) => `<text x="${x(s)}" y="${HEIGHT - 12}" text-anchor="middle">${s / 60} min</text>`),
    `<path d="M${LEFT} ${y(0)}${area}L${x(seconds)} ${y(0)}Z" fill="#d9d9d9"/>`,
    ...outcomes
      .map((o, i) => `<path d="${line(o)}" fill="none" stroke="${COLORS[i]}" stroke-width="1.6"/>`)
      .reverse(),
    `<text x="${LEFT}" y="16" font-weight="bold">${trace.name}: replicas</text>`,
    ...outcomes.map((o, i) => `<text x="${250 + 130 * i}" y="16" fill="${COLORS[i]}">${o.policy}</text>`),
    `<text x="${250 + 130 * outcomes.length}" y="16" fill="#888">kept busy</text>`,
    '</svg>',
    '',
  ].join('\n');
}

import { ask } from './client.ts';

/** What `GET /metrics` says, to be asked for one number after the other. */
export class Scraped {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }

  /** Lines of one metric. `labels` as the text has them before the process's own, a pattern: `kind="notFound"`. */
  values(name: string, labels = ''): { pid: number; value: number }[] {
    const own = labels ? `${labels},` : '';
    const line = new RegExp(`^${name}\\{${own}pid="(\\d+)"\\} (\\S+)$`, 'gm');
    return [...this.text.matchAll(line)].map(([, pid, value]) => ({
      pid: Number(pid),
      value: Number(value),
    }));
  }

  /** Of all processes; NaN when none tells it. */
  total(name: string, labels = ''): number {
    const values = this.values(name, labels);
    return values.length === 0 ? Number.NaN : values.reduce((sum, { value }) => sum + value, 0);
  }

  /** No request is in hand. */
  get atRest(): boolean {
    return ['pending', 'in_flight', 'held'].every((what) => this.total(`gateway_${what}_requests`) === 0);
  }
}

export async function scrape(port: number): Promise<Scraped> {
  return new Scraped((await ask(port, '/metrics')).body);
}

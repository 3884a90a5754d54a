import { Agent, request } from 'node:http';
import { KINDS, type Kind } from './engines.ts';

/** What became of the requests; every one is in exactly one of these. */
export interface Tally {
  sent: number;
  answered: number;
  /** Given up by this client. */
  left: number;
  /** Streams that ended early, by the replica that served them. */
  cut: string[];
  /** Other than all of that: what, and for which kind. */
  failed: string[];
  /** Of the short ones that were answered: when they were sent (`Date.now()`), and how long they took. */
  short: { at: number; ms: number }[];
}

/** One in this many clients leaves somewhere within the time an answer may take. */
const LEAVES_ONE_IN = 20;
const LEAVES_WITHIN_MS = 100;
/** Nine of ten ask something short, the rest is half slow, half streamed. */
const kindOf = (n: number): Kind => (n % 10 < 8 ? 'short' : (KINDS[1 + (n % 2)] ?? 'slow'));

/** Asks the endpoint over and over and keeps the books. */
export class Caller {
  readonly tally: Tally = { sent: 0, answered: 0, left: 0, cut: [], failed: [], short: [] };
  /** Ids of requests this client has seen to their end. */
  readonly complete = new Set<string>();
  readonly #port: number;
  readonly #path: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 512 });

  readonly #headers: Record<string, string>;

  /** `token` for an endpoint that is not public. */
  constructor(port: number, path: string, token?: string) {
    this.#port = port;
    this.#path = path;
    this.#headers = token ? { authorization: `Bearer ${token}` } : {};
  }

  /** As fast as it goes with so many at a time; answers requests per second. */
  async flatOut(seconds: number, atOnce: number): Promise<number> {
    const end = Date.now() + seconds * 1000;
    const before = this.tally.sent;
    const one = async () => {
      while (Date.now() < end) await this.ask();
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    return (this.tally.sent - before) / seconds;
  }

  /** At a constant rate, whatever the answers take. */
  async atRate(perSecond: number, until: number, signal?: AbortSignal): Promise<void> {
    const open = new Set<Promise<void>>();
    const began = Date.now();
    let sent = 0;
    while (Date.now() < until && !signal?.aborted) {
      const due = ((Date.now() - began) / 1000) * perSecond;
      for (; sent < due; sent += 1) {
        const asked = this.ask();
        open.add(asked);
        void asked.finally(() => open.delete(asked));
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Promise.all(open);
  }

  close(): void {
    this.#agent.destroy();
  }

  ask(): Promise<void> {
    const number = this.tally.sent++;
    const id = `r${number}`;
    const kind = kindOf(number);
    const at = Date.now();
    const began = performance.now();
    return new Promise((resolve) => {
      let over = false;
      const done = (record: () => void) => {
        if (over) return;
        over = true;
        record();
        resolve();
      };
      const req = request({
        port: this.#port,
        host: '127.0.0.1',
        path: `${this.#path}/${kind}`,
        agent: this.#agent,
        headers: { ...this.#headers, 'x-soak-id': id },
      });
      let leaving: NodeJS.Timeout | undefined;
      if (Math.random() * LEAVES_ONE_IN < 1)
        leaving = setTimeout(() => {
          done(() => {
            this.tally.left += 1;
          });
          req.destroy();
        }, Math.random() * LEAVES_WITHIN_MS);
      req.on('error', (error: NodeJS.ErrnoException) =>
        done(() => this.tally.failed.push(`${kind}: ${error.code}`)),
      );
      req.on('response', (res) => {
        let text = '';
        res.setEncoding('utf8');
        res.on('data', (chunk) => {
          text += chunk;
        });
        res.on('error', () => undefined);
        res.on('close', () => {
          clearTimeout(leaving);
          done(() => {
            const replica = String(res.headers['x-proxied-replica'] ?? '');
            const whole = kind === 'stream' ? text.endsWith('data: [DONE]\n\n') : text === id;
            if (res.statusCode !== 200)
              this.tally.failed.push(`${kind}: ${res.statusCode} ${text.slice(0, 120)}`);
            else if ((text.match(/\br\d+/g) ?? []).some((other) => other !== id))
              this.tally.failed.push(`${kind}: another's answer: ${text}`);
            else if (res.complete && whole) {
              this.tally.answered += 1;
              this.complete.add(id);
              if (kind === 'short') this.tally.short.push({ at, ms: performance.now() - began });
            } else if (kind === 'stream') this.tally.cut.push(replica);
            else this.tally.failed.push(`${kind}: incomplete`);
          });
        });
      });
      req.end();
    });
  }
}

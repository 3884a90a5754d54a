/** What an endpoint's own traffic tells of how much its replicas can do, so that no more are ordered than will be of use. */

/** Requests at one look. */
export interface Flow {
  at: number;
  /** Without a response status yet. */
  pending: number;
  /** Accepted so far. */
  requests: number;
  ready: number;
}

/** Long enough to average over, short enough to be of the load of now. */
export const FLOW_MS = 10_000;
/** So much of a new measurement goes into what is known of a replica, once a second. */
const LEARNING = 0.2;
/** Replicas are ordered for so much more than arrives, or a queue would never end. */
const HEADROOM = 1.2;
/** A queue that is still there when a replica ordered now would be ready is to be gone so long after. */
const DRAIN_SECONDS = 30;

/**
 * Requests that one replica answers in a second when it has enough of them: what is known already, corrected by the last
 * seconds if all replicas had `fullLoad` requests each throughout.
 */
export function learnCapacity(known: number | null, flow: readonly Flow[], fullLoad: number): number | null {
  const [first, last] = [flow[0], flow.at(-1)];
  if (!first || !last || last.at - first.at < FLOW_MS / 2) return known;
  if (flow.some((look) => look.ready === 0 || look.pending < fullLoad * look.ready)) return known;
  const answered = last.requests - first.requests - (last.pending - first.pending);
  const replicas = flow.reduce((sum, look) => sum + look.ready, 0) / flow.length;
  const each = answered / ((last.at - first.at) / 1000) / replicas;
  if (each <= 0) return known;
  return known === null ? each : known + LEARNING * (each - known);
}

/**
 * How many replicas are enough for the requests that arrive, and for what of the queue will be left when a replica ordered
 * now is ready, `startSeconds` from now, the ones on their way being ready at `othersReadyAt`. Null when the look was too
 * short to tell.
 */
export function enough(
  flow: readonly Flow[],
  ahead: { each: number; starting: number; startSeconds: number; othersReadyAt: number; now: number },
): number | null {
  const [first, last] = [flow[0], flow.at(-1)];
  if (!first || !last || last.at - first.at < FLOW_MS / 4) return null;
  const { each, starting, startSeconds, othersReadyAt, now } = ahead;
  const rateSince = (look: Flow) => (last.requests - look.requests) / Math.max(1, (last.at - look.at) / 1000);
  // What has just begun counts in full.
  const lately = flow.find((look) => last.at - look.at <= FLOW_MS / 2) ?? first;
  const arrival = Math.max(rateSince(first), rateSince(lately));
  const until = Math.min(Math.max((othersReadyAt - now) / 1000, 0), startSeconds);
  const done = each * (last.ready * until + (last.ready + starting) * (startSeconds - until));
  const left = Math.max(0, last.pending + arrival * startSeconds - done);
  return Math.ceil((arrival * HEADROOM) / each + left / (each * Math.min(startSeconds, DRAIN_SECONDS)));
}

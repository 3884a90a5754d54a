import type { IncomingMessage } from 'node:http';
import type { PlatformConfig } from '../../runtime/config.ts';
import { gatewayHosts } from '../../spec/domain.ts';
import { parseAddress } from './address.ts';
import { addressSet, clientAddress } from './addresses.ts';
import { admit } from './admission.ts';
import { declaredLength } from './body.ts';
import { corsHeaders } from './cors.ts';
import { bodyTooLarge, type Refusal } from './errors.ts';
import { endpointAt, endpointOf, labelOf } from './host-names.ts';
import type { Limits, Pass } from './limits.ts';
import type { Account, Meter } from './meter.ts';
import type { Policy } from './policy.ts';
import { holdMs } from './seek.ts';
import { type Endpoint, endpointKey, type Snapshot } from './snapshot.ts';

export interface EntranceDeps {
  readonly config: Pick<
    PlatformConfig['gateway'],
    'holdSeconds' | 'maxHoldSeconds' | 'trustedProxies' | 'domain' | 'publicUrl' | 'ownHosts'
  >;
  /** Null until the store has been read. */
  snapshot(): Snapshot | null;
  hasReady(endpointId: string): boolean;
  readonly limits: Limits;
  readonly meter: Meter;
}

/** A request that may go to its endpoint. */
export interface Wanted {
  readonly endpoint: Endpoint;
  /** Path and query for the engine. */
  readonly path: string;
  /** What stood before it, where the engine does not see it; '' when the endpoint has a host of its own. */
  readonly prefix: string;
  /** How long it may wait for a replica, in milliseconds. */
  readonly holdMs: number;
  /** Of the endpoint and the caller's token. */
  readonly account: Account;
  /** Null when the endpoint has no limits. */
  readonly pass: Pass | null;
}

/** Everything that is decided of a request before it counts: which endpoint it is for, and whether it may go there. */
export class Entrance {
  readonly #deps: EntranceDeps;
  /** Proxies that are believed whom a request is from; null when none is. */
  readonly #trusted: ReturnType<typeof addressSet> | null;
  readonly #ownHosts: ReturnType<typeof gatewayHosts>;

  constructor(deps: EntranceDeps) {
    const { config } = deps;
    this.#deps = deps;
    this.#trusted = config.trustedProxies.length > 0 ? addressSet(config.trustedProxies) : null;
    this.#ownHosts = gatewayHosts(config);
  }

  /** The key of the endpoint whose own host the request names: one below the site's domain, or its owner's. */
  ownHost(req: IncomingMessage): string | null {
    const snapshot = this.#deps.snapshot();
    const { domain } = this.#deps.config;
    const domains = snapshot?.domains ?? null;
    if (domain === null && domains === null) return null;
    const { host } = req.headers;
    const label = domain === null ? null : labelOf(host, domain);
    if (label === null) return domains && endpointOf(host, domains, this.#ownHosts);
    const key = snapshot ? endpointAt(label, snapshot.endpoints) : null;
    // No namespace is called so: it finds nothing, and says what was looked for.
    return key ?? `-/${label}`;
  }

  /** Before anything is known of the caller: a browser must be able to read why it was refused. */
  corsFor(req: IncomingMessage, origin: string): readonly string[] | null {
    const address = parseAddress(this.#targetOf(req));
    if (typeof address === 'string') return null;
    return corsHeaders(origin, this.#deps.snapshot()?.endpoints.get(address.key)?.policy?.cors);
  }

  check(req: IncomingMessage): Refusal | Wanted {
    const { config, snapshot, hasReady, meter } = this.#deps;
    const encoding = req.headers['transfer-encoding'];
    if (encoding !== undefined && encoding.toLowerCase() !== 'chunked')
      return { kind: 'badRequest', message: "the only Transfer-Encoding taken is 'chunked'" };
    const held = holdMs(req.headers['x-scale-up-timeout'], config);
    if (typeof held === 'string') return { kind: 'badRequest', message: held };
    const admission = admit(
      snapshot(),
      this.#targetOf(req),
      req.headers.authorization,
      () => clientAddress(req, this.#trusted),
      hasReady,
    );
    if (!admission.ok) return admission.refusal;
    const { endpoint, path, tokenId } = admission;
    const pass = endpoint.policy === null ? null : this.#underLimits(req, endpoint, endpoint.policy, tokenId);
    if (pass && 'kind' in pass) return pass;
    const prefix = this.ownHost(req) === null ? `/${endpointKey(endpoint)}` : '';
    return { endpoint, path, prefix, holdMs: held, account: meter.account(endpoint, tokenId), pass };
  }

  /** The request's target, as it is by path. */
  #targetOf(req: IncomingMessage): string {
    const target = req.url ?? '/';
    const key = this.ownHost(req);
    return key === null || !target.startsWith('/') ? target : `/${key}${target}`;
  }

  #underLimits(
    req: IncomingMessage,
    endpoint: Endpoint,
    policy: Policy,
    tokenId: string,
  ): Refusal | Pass | null {
    const { maxBodyBytes } = policy;
    if (maxBodyBytes !== null && (declaredLength(req) ?? 0) > maxBodyBytes)
      return bodyTooLarge(endpoint, maxBodyBytes);
    if (policy.limits === null && policy.tokenLimits === null) return null;
    const caller = tokenId || clientAddress(req, this.#trusted);
    return this.#deps.limits.enter(endpoint, policy, caller, performance.now());
  }
}

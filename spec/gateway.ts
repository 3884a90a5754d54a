import { z } from 'zod';

/**
 * What an owner may decide about the gateway in front of an endpoint, under the key `gateway` (an extension of the public
 * API). The site's own defaults (`gateway.defaults` in `platform.yaml`) have the same shape. A value that is absent takes
 * the site's, null is none at all.
 */

const seconds = z.number().positive().max(86_400);
const count = z.int().min(1).max(1_000_000_000);
/** One address or a block of them, IPv4 or IPv6. */
export const addressBlock = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], {
  error: "not an address or a block of addresses: write it as '192.0.2.7', '192.0.2.0/24' or '2001:db8::/32'",
});

const rateFields = {
  requestsPerMinute: count.nullish(),
  /** Prompt and completion tokens together, as far as the engine reports them. */
  tokensPerMinute: count.nullish(),
  /** Requests and WebSockets at the same time, held ones included. */
  concurrentRequests: count.nullish(),
};
const rates = z.strictObject(rateFields);

/** A name that may stand in a header or a cookie (RFC 9110 §5.6.2). */
const token = z
  .string()
  .regex(/^[\w!#$%&'*+.^`|~-]{1,64}$/, "not a name of a header or cookie: letters, digits and '-'");
const session = z
  .strictObject({ header: token.nullish(), cookie: token.nullish() })
  .refine(({ header, cookie }) => header || cookie, 'name a header, a cookie or both');
/** Where a request says which session it belongs to. */
export type SessionSettings = z.infer<typeof session>;

export const gatewaySettings = z
  .strictObject({
    /** Of all callers together. */
    limits: rates.extend({ maxBodyBytes: count.nullish() }).nullish(),
    /** Of each token; on a public endpoint, of each client address. */
    tokenLimits: rates.nullish(),
    /** Client addresses that may use the endpoint; absent or null: all. */
    allowedIps: z.array(addressBlock).min(1).max(1000).nullish(),
    /** Requests of one session go to one replica. The cookie is set by the gateway where a request has none. */
    session: session.nullish(),
    /** How long an engine may take; without a limit as long as the client waits. */
    timeouts: z
      .strictObject({
        /** From a replica being asked to the first byte of its answer's body. */
        firstByteSeconds: seconds.nullish(),
        /** Between two parts of the answer. */
        idleSeconds: seconds.nullish(),
        /** From the request to the end of the answer, waiting for a replica included. */
        totalSeconds: seconds.nullish(),
      })
      .nullish(),
    /** Callers of event streams get the head and comments while they wait for a replica. */
    holdComments: z.boolean().nullish(),
    /** Web pages of these origins may call the endpoint; without, the engine's own answers decide. */
    cors: z
      .strictObject({
        origins: z
          .array(
            z
              .string()
              .regex(
                /^(?:\*|https?:\/\/[^\s/?#@,]+)$/,
                "not an origin: write it as 'https://example.org' or '*'",
              ),
          )
          .min(1)
          .max(100),
      })
      .nullish(),
  })
  .meta({ id: 'EndpointGateway' });
export type GatewaySettings = z.infer<typeof gatewaySettings>;
export type RateSettings = z.infer<typeof rates>;

/** The settings with the given keys replaced; null takes one away, and with it all that it said. */
export function mergeGateway(
  current: GatewaySettings | undefined,
  update: GatewaySettings | null | undefined,
): GatewaySettings {
  if (update === null) return {};
  const merged = Object.entries({ ...current, ...update });
  return Object.fromEntries(merged.filter(([, value]) => value !== null && value !== undefined));
}

import { z } from 'zod';
import { quantile } from '../../../spec/histogram.ts';
import { endpointNotFound } from '../../../store/endpoint-writes.ts';
import { findEndpoint } from '../../../store/endpoints.ts';
import { usageByStatus, usageByToken, usageDurations, usageLoad } from '../../../store/usage.ts';
import { guard } from '../../auth/guard.ts';
import type { ControlApp, ControlDeps } from '../context.ts';
import {
  axis,
  elapsedGraph,
  everyStep,
  graphParams,
  type Points,
  pendingGraph,
  type Steps,
  statusGraph,
  steps,
} from '../graphs.ts';
import { endpointParams, refusalsOfOne } from '../schemas.ts';

const PERCENTILES = [0.5, 0.9, 0.95, 0.99] as const;

/** Graphs of what the gateways metered, and the same by token (an extension of the public API). */
export function usageRoutes(app: ControlApp, deps: ControlDeps): void {
  const { store } = deps;
  const idOf = async ({ namespace, name }: { namespace: string; name: string }): Promise<string> => {
    const endpoint = await findEndpoint(store, namespace, name);
    if (!endpoint || endpoint.phase === 'deleted') throw endpointNotFound(namespace, name);
    return endpoint.id;
  };
  const url = '/v2/endpoint/:namespace/:name';
  const onRequest = guard(store, 'endpoint.read');
  const shared = { tags: ['endpoint'], params: endpointParams, body: graphParams };

  app.route({
    method: 'POST',
    url: `${url}/metrics/response-status-code`,
    onRequest,
    schema: {
      operationId: 'graphStatusCode',
      summary: 'Requests by status',
      ...shared,
      response: { 200: statusGraph, ...refusalsOfOne },
    },
    handler: async (request) => {
      const span = steps(request.body, Date.now());
      const rows = await usageByStatus(store, await idOf(request.params), span, span.seconds);
      const statuses = [...new Set(rows.map((row) => row.status))].sort((a, b) => a - b);
      const requests = new Map(rows.map((row) => [`${row.status} ${row.at.getTime()}`, row.requests]));
      const series = statuses.map((status) => ({
        statusCode: String(status),
        data: everyStep(span, (at) => requests.get(`${status} ${at}`) ?? 0),
      }));
      return { ...axis(span), series };
    },
  });

  app.route({
    method: 'POST',
    url: `${url}/metrics/response-elapsed`,
    onRequest,
    schema: {
      operationId: 'graphElapsed',
      summary: 'Percentiles of the time answers took, in seconds',
      ...shared,
      response: { 200: elapsedGraph, ...refusalsOfOne },
    },
    handler: async (request) => {
      const span = steps(request.body, Date.now());
      const rows = await usageDurations(store, await idOf(request.params), span, span.seconds);
      const series = PERCENTILES.map((q) => ({
        percentile: percentileName(q),
        // A step without an answer has no percentile.
        data: rows.map((row): Points[number] => ({
          x: row.at.toISOString(),
          y: (quantile(row.durations, q) ?? 0) / 1000,
        })),
      }));
      return { ...axis(span), series };
    },
  });

  app.route({
    method: 'POST',
    url: `${url}/metrics/pending-request`,
    onRequest,
    schema: {
      operationId: 'graphPendingRequest',
      summary: 'Mean number of requests without a response status, and of all in hand',
      ...shared,
      response: { 200: pendingGraph, ...refusalsOfOne },
    },
    handler: async (request) => {
      const span = steps(request.body, Date.now());
      const rows = await usageLoad(store, await idOf(request.params), span, span.seconds);
      const byStep = new Map(rows.map((row) => [row.at.getTime(), row]));
      const series = (['pending', 'inFlight'] as const).map((status) => ({
        status,
        data: everyStep(span, (at) => byStep.get(at)?.[status] ?? 0),
      }));
      return { ...axis(span), series };
    },
  });

  app.route({
    method: 'GET',
    url: `${url}/usage`,
    onRequest,
    schema: {
      operationId: 'getUsage',
      summary: 'What each token used of an endpoint',
      tags: ['endpoint'],
      params: endpointParams,
      querystring: usageQuery,
      response: { 200: usage, ...refusalsOfOne },
    },
    handler: async (request) => {
      const { from, to } = request.query;
      // Of any length: nothing is cut into steps.
      const span = steps({ from, to, step: 60 }, Date.now(), Number.POSITIVE_INFINITY);
      const rows = await usageByToken(store, await idOf(request.params), span);
      return { start: span.from.toISOString(), stop: span.to.toISOString(), tokens: rows.map(shown(span)) };
    },
  });
}

const secondsText = z.coerce.number<string>().pipe(z.int().nonnegative().max(253_402_300_799));
const usageQuery = z.object({
  from: secondsText.optional().describe('Seconds since the epoch; default: an hour before `to`.'),
  to: secondsText.optional(),
});

const seconds = z.record(z.string(), z.number()).describe('Percentiles in seconds; empty without an answer.');
const usage = z
  .object({
    start: z.string(),
    stop: z.string(),
    tokens: z.array(
      z.object({
        token: z
          .object({ id: z.string(), name: z.string().nullable(), user: z.string().nullable() })
          .nullable(),
        requests: z.int(),
        byStatus: z.record(z.string(), z.int()),
        durationSeconds: seconds,
        firstByteSeconds: seconds,
        requestBytes: z.int(),
        responseBytes: z.int(),
        promptTokens: z.int(),
        completionTokens: z.int(),
        meanInFlight: z.number(),
        meanPending: z.number(),
      }),
    ),
  })
  .meta({ id: 'EndpointUsage' });

function shown(span: Steps) {
  const spanMs = span.to.getTime() - span.from.getTime();
  return (row: Awaited<ReturnType<typeof usageByToken>>[number]) => ({
    token: row.tokenId === '' ? null : { id: row.tokenId, name: row.tokenName, user: row.userName },
    requests: row.requests,
    byStatus: row.byStatus,
    durationSeconds: percentiles(row.durations),
    firstByteSeconds: percentiles(row.firstBytes),
    requestBytes: row.requestBytes,
    responseBytes: row.responseBytes,
    promptTokens: row.promptTokens,
    completionTokens: row.completionTokens,
    meanInFlight: row.inFlightMs / spanMs,
    meanPending: row.pendingMs / spanMs,
  });
}

function percentiles(counts: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    PERCENTILES.flatMap((q) => {
      const ms = quantile(counts, q);
      return ms === null ? [] : [[percentileName(q), ms / 1000]];
    }),
  );
}

function percentileName(q: number): string {
  return `p${q * 100}`;
}

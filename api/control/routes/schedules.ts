import { z } from 'zod';
import {
  checkSchedule,
  scheduleCreate,
  scheduleName,
  scheduleUpdate,
  scheduleWithStatus,
} from '../../../spec/schedule.ts';
import {
  changeSchedule,
  createSchedule,
  deleteSchedule,
  listSchedules,
  readSchedule,
  type StoredSchedule,
} from '../../../store/schedules.ts';
import { guard } from '../../auth/guard.ts';
import { actorOf, type ControlApp, type ControlDeps } from '../context.ts';
import { empty, endpointParams, errorBody, refusalsOfOne } from '../schemas.ts';
import { tellScheduler } from '../tell.ts';

const params = endpointParams.extend({ schedule: scheduleName });
const URL = '/v2/endpoint/:namespace/:name/schedules';

/** Scheduled scaling: rules that set an endpoint's bounds by the clock. An extension of the public API. */
export function scheduleRoutes(app: ControlApp, deps: ControlDeps): void {
  const { store } = deps;
  const mayRead = guard(store, 'schedule.read');
  const mayWrite = guard(store, 'schedule.write');

  /** The rule as it is stored now, made known to Temporal in the background. */
  const stored = async (where: { namespace: string; name: string }, schedule: string) => {
    const rule = await readSchedule(store, where, schedule);
    tellScheduler(deps, schedule, deps.schedules.put(rule));
    return present(rule);
  };

  app.route({
    method: 'GET',
    url: URL,
    onRequest: mayRead,
    schema: {
      operationId: 'listSchedule',
      summary: 'The rules by which the bounds of an endpoint change with the clock',
      tags: ['schedule'],
      params: endpointParams,
      response: { 200: z.object({ items: z.array(scheduleWithStatus) }), ...refusalsOfOne },
    },
    handler: async (request) => ({ items: (await listSchedules(store, request.params)).map(present) }),
  });

  app.route({
    method: 'POST',
    url: URL,
    onRequest: mayWrite,
    schema: {
      operationId: 'createSchedule',
      summary: 'Add a rule',
      tags: ['schedule'],
      params: endpointParams,
      body: scheduleCreate,
      response: { 200: scheduleWithStatus, ...refusalsOfOne, 409: errorBody },
    },
    handler: async (request) => {
      const rule = checkSchedule(request.body);
      await createSchedule(store, { ...request.params, actor: actorOf(request) }, rule);
      return stored(request.params, rule.name);
    },
  });

  app.route({
    method: 'GET',
    url: `${URL}/:schedule`,
    onRequest: mayRead,
    schema: {
      operationId: 'getSchedule',
      summary: 'Read a rule',
      tags: ['schedule'],
      params,
      response: { 200: scheduleWithStatus, ...refusalsOfOne },
    },
    handler: async (request) => present(await readSchedule(store, request.params, request.params.schedule)),
  });

  app.route({
    method: 'PUT',
    url: `${URL}/:schedule`,
    onRequest: mayWrite,
    schema: {
      operationId: 'updateSchedule',
      summary: 'Change what the body names of a rule, and nothing else',
      tags: ['schedule'],
      params,
      body: scheduleUpdate,
      response: { 200: scheduleWithStatus, ...refusalsOfOne },
    },
    handler: async (request) => {
      const { schedule } = request.params;
      const where = { ...request.params, actor: actorOf(request) };
      const given = Object.entries(request.body).filter(([, value]) => value !== undefined);
      await changeSchedule(store, where, schedule, (current) =>
        checkSchedule({ ...current, ...Object.fromEntries(given) }),
      );
      return stored(request.params, schedule);
    },
  });

  app.route({
    method: 'DELETE',
    url: `${URL}/:schedule`,
    onRequest: mayWrite,
    schema: {
      operationId: 'deleteSchedule',
      summary: 'Delete a rule; the bounds stay as they are',
      tags: ['schedule'],
      params,
      response: { 200: empty, ...refusalsOfOne },
    },
    handler: async (request) => {
      const { schedule } = request.params;
      const endpointId = await deleteSchedule(
        store,
        { ...request.params, actor: actorOf(request) },
        schedule,
      );
      tellScheduler(deps, schedule, deps.schedules.drop(endpointId, schedule));
      return {};
    },
  });
}

function present({ endpointId: _, version: __, firedAt, createdAt, updatedAt, ...rule }: StoredSchedule) {
  return {
    ...rule,
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
    lastFiredAt: firedAt?.toISOString() ?? null,
  };
}

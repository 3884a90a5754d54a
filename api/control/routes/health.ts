import { z } from 'zod';
import type { ControlApp } from '../context.ts';

/** Whether this process answers; says nothing of the store or of Temporal, which may come and go under it. */
export function healthRoutes(app: ControlApp): void {
  app.route({
    method: 'GET',
    url: '/health',
    schema: {
      operationId: 'health',
      summary: 'The process answers',
      tags: ['process'],
      security: [],
      response: { 200: z.object({ status: z.literal('ok') }) },
    },
    handler: async () => ({ status: 'ok' as const }),
  });
}

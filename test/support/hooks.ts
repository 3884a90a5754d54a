import { stopSharedPostgres } from './postgres.ts';
import { stopSharedTemporal } from './temporal.ts';

export const mochaHooks = {
  async afterAll(): Promise<void> {
    await stopSharedTemporal();
    await stopSharedPostgres();
  },
};

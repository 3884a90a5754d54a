import { type Client, type Connection, isGrpcServiceError } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import type { TemporalConfig } from '../runtime/config.ts';

/** `IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD` of Temporal's API. */
const KEYWORD = 2;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;
const DAY_MS = 86_400_000;

/**
 * Brings Temporal's namespace to what `temporal.yaml` says: it exists, keeps closed workflows for `retentionDays`, and
 * knows the search attributes. Safe to repeat and to run from several workers at once.
 */
export async function prepareNamespace(client: Client, config: TemporalConfig): Promise<void> {
  const { workflowService, operatorService } = client.connection as Connection;
  const { namespace } = config;
  const retention = msToTs(config.retentionDays * DAY_MS);
  try {
    await workflowService.describeNamespace({ namespace });
    await workflowService.updateNamespace({
      namespace,
      config: { workflowExecutionRetentionTtl: retention },
    });
  } catch (error) {
    if (!isGrpcServiceError(error) || error.code !== NOT_FOUND) throw error;
    await workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod: retention });
  }

  const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
  for (const [name, type] of Object.entries(customAttributes ?? {})) {
    if (config.searchAttributes.includes(name) && type !== KEYWORD) {
      throw new Error(
        `search attribute ${name} exists in namespace ${namespace} with another type than Keyword: remove it`,
      );
    }
  }
  const missing = config.searchAttributes.filter((name) => !Object.hasOwn(customAttributes ?? {}, name));
  if (missing.length === 0) return;
  await operatorService
    .addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])),
    })
    .catch((error: unknown) => {
      if (!isGrpcServiceError(error) || error.code !== ALREADY_EXISTS) throw error;
    });
}

import type { Client } from '@temporalio/client';
import type { Hub } from '../../hub/client.ts';
import type { PlatformConfig } from '../../runtime/config.ts';
import type { Logger } from '../../runtime/log.ts';
import type { Store } from '../../store/database.ts';
import type { Vault } from '../../store/secrets.ts';

/** What control activities work with. */
export interface ControlDeps {
  store: Store;
  vault: Vault;
  config: PlatformConfig;
  hub: Pick<Hub, 'resolveModel'>;
  /** For gated and private repositories; sealed for the host that downloads. */
  hubToken: string | null;
  installation: string;
  temporal: Client;
  log: Logger;
}

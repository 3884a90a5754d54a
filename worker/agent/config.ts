import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { ConfigError, dataDir } from '../../runtime/config.ts';

const environment = z.object({
  ENDPOINTS_API: z.url({ error: "give the address of the control API, such as 'http://127.0.0.1:8080'" }),
  ENDPOINTS_JOIN_TOKEN: z.string({ error: "make one with 'endpoints token create --role agent'" }).min(1),
  ENDPOINTS_AGENT_DIR: z.string().optional(),
  ENDPOINTS_AGENT_NAME: z.string().optional(),
  ENDPOINTS_AGENT_ADDRESS: z.string().optional(),
  ENDPOINTS_AGENT_VENDOR: z.string().optional(),
  ENDPOINTS_AGENT_REGION: z.string().optional(),
  AGENT_CPUS: z.coerce.number().positive().optional(),
  AGENT_MEMORY_BYTES: z.coerce.number().int().positive().optional(),
});

export interface AgentConfig {
  api: string;
  joinToken: string;
  /** Everything this host keeps: identity, records of its replicas, weights. */
  dir: string;
  name: string;
  /** Address that containers are published on and that gateways reach them by. */
  address: string;
  vendor: string;
  region: string;
  /** Upper bounds for what the host offers; null offers all it has. */
  maxCpus: number | null;
  maxMemoryBytes: number | null;
}

/**
 * The agent is configured by its environment alone; `docs/agent.md` has the list.
 * @throws ConfigError with one line that names the variable
 */
export function agentConfig(env: NodeJS.ProcessEnv): AgentConfig {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = environment.safeParse(set);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ConfigError(`${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { data } = parsed;
  return {
    api: data.ENDPOINTS_API,
    joinToken: data.ENDPOINTS_JOIN_TOKEN,
    dir: resolve(data.ENDPOINTS_AGENT_DIR ?? resolve(dataDir(env), 'agent')),
    name: data.ENDPOINTS_AGENT_NAME ?? hostname(),
    address: data.ENDPOINTS_AGENT_ADDRESS ?? '127.0.0.1',
    vendor: data.ENDPOINTS_AGENT_VENDOR ?? 'docker',
    region: data.ENDPOINTS_AGENT_REGION ?? 'local',
    maxCpus: data.AGENT_CPUS ?? null,
    maxMemoryBytes: data.AGENT_MEMORY_BYTES ?? null,
  };
}

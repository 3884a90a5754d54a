import type Docker from 'dockerode';
import { engineNamed } from '../../engines/index.ts';
import type { ReplicaPlan, SealedSecrets } from '../../spec/lifecycle.ts';
import { LABELS } from '../../spec/names.ts';

/** Names of the variables whose values are secret, so that they can be found again in a container and kept out of logs. */
const SECRET_NAMES_LABEL = 'inference-endpoints.secret-variables';
/** The scheduler's accounting period in µs; a quota instead of `NanoCpus`, which is refused above the host's cores. */
const CPU_PERIOD_US = 100_000;
const LOG_OPTIONS = { 'max-size': '10m', 'max-file': '2' };

export interface Placement {
  installation: string;
  networkId: string;
  /** Host address the port is published on. */
  address: string;
  /** Directory with the model's files, or null when the replica has none. */
  weightsPath: string | null;
}

/** The whole container as Docker is asked for it. Deterministic: the same plan gives the same container. */
export function containerOptions(
  plan: ReplicaPlan,
  secrets: SealedSecrets,
  placement: Placement,
): Docker.ContainerCreateOptions {
  const { container } = plan;
  const secretEnv = secretVariables(plan, secrets);
  return {
    name: plan.containerName,
    Image: container.image,
    ...(container.entrypoint.length ? { Entrypoint: container.entrypoint } : {}),
    // Without arguments of ours the image's own must stay.
    ...(container.args.length ? { Cmd: container.args } : {}),
    Env: Object.entries({ ...container.env, ...secretEnv }).map(([name, value]) => `${name}=${value}`),
    ExposedPorts: { [`${container.port}/tcp`]: {} },
    Labels: {
      [LABELS.installation]: placement.installation,
      [LABELS.endpoint]: plan.endpointId,
      [LABELS.replica]: plan.replicaId,
      [LABELS.workflow]: plan.workflowId,
      [LABELS.revision]: String(plan.revision),
      [SECRET_NAMES_LABEL]: Object.keys(secretEnv).join(','),
    },
    // We probe ourselves; an image's own check would ask a port we may have changed.
    Healthcheck: { Test: ['NONE'] },
    StopSignal: container.stopSignal,
    StopTimeout: Math.ceil(container.stopGraceMs / 1000),
    HostConfig: {
      NetworkMode: placement.networkId,
      PortBindings: { [`${container.port}/tcp`]: [{ HostIp: placement.address, HostPort: '' }] },
      // A mount and not a bind: Docker would make an empty folder for a bind whose source is missing.
      Mounts: placement.weightsPath
        ? [{ Type: 'bind', Source: placement.weightsPath, Target: '/repository', ReadOnly: true }]
        : [],
      Memory: container.memoryBytes,
      // Equal to the memory: no swap, so that too little memory shows at once instead of as a slow engine.
      MemorySwap: container.memoryBytes,
      CpuPeriod: CPU_PERIOD_US,
      CpuQuota: Math.round(container.cpus * CPU_PERIOD_US),
      PidsLimit: container.pidsLimit,
      ShmSize: container.shmBytes,
      ...(container.ulimits?.length
        ? {
            Ulimits: container.ulimits.map(({ name, soft, hard }) => ({
              Name: name,
              Soft: soft,
              Hard: hard,
            })),
          }
        : {}),
      SecurityOpt: ['no-new-privileges'],
      CapDrop: ['ALL'],
      // An engine that has not installed its signal handlers yet would ignore SIGTERM as process 1.
      Init: true,
      // The workflow decides; Docker would start a broken engine for ever.
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: LOG_OPTIONS },
      ...(container.gpus.length ? { DeviceRequests: [gpuRequest(container.gpus)] } : {}),
    },
  };
}

/** The owner's secrets and the engine's key; the platform's own variables cannot be replaced by either. */
function secretVariables(plan: ReplicaPlan, secrets: SealedSecrets): Record<string, string> {
  const engine = engineNamed(plan.readiness.engine);
  const own = Object.entries(secrets.env).filter(([name]) => !engine.ownsVariable(name));
  return {
    ...Object.fromEntries(own),
    ...(engine.apiKeyVariable ? { [engine.apiKeyVariable]: secrets.engineKey } : {}),
  };
}

function gpuRequest(indexes: readonly number[]) {
  return { Driver: 'nvidia', DeviceIDs: indexes.map(String), Capabilities: [['gpu']] };
}

/** The secret values a container was given, read back from it: what must not be in any text about it. */
export function secretsOf(info: Docker.ContainerInspectInfo): string[] {
  const names = info.Config.Labels[SECRET_NAMES_LABEL]?.split(',') ?? [];
  const env = environmentOf(info);
  return names.map((name) => env.get(name)).filter((value) => value !== undefined);
}

/** The key the engine in a container asks for; null when it asks for none. */
export function engineKeyOf(info: Docker.ContainerInspectInfo, engine: string): string | null {
  const variable = engineNamed(engine).apiKeyVariable;
  return (variable && environmentOf(info).get(variable)) || null;
}

function environmentOf(info: Docker.ContainerInspectInfo): Map<string, string> {
  return new Map(
    (info.Config.Env ?? []).map((entry) => {
      const at = entry.indexOf('=');
      return [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
}

/** `http://<address>:<port>` under which this host reaches a running container's port; null while it has none. */
export function addressOf(info: Docker.ContainerInspectInfo, port: number): string | null {
  const [binding] = info.NetworkSettings.Ports[`${port}/tcp`] ?? [];
  if (!binding) return null;
  const host = binding.HostIp.includes(':') ? `[${binding.HostIp}]` : binding.HostIp;
  return `http://${host}:${binding.HostPort}`;
}

import type { DriverNeed } from '../spec/driver.ts';
import type { ErrorCode, Failure } from '../spec/errors.ts';
import type { Instance } from '../spec/hardware.ts';
import type { ContainerDescription, HttpProbe, WeightFile } from '../spec/lifecycle.ts';
import type { MetricMap } from './metrics/map.ts';

/** A file of the repository, as the Hub lists it. */
export type RepositoryFile = WeightFile;

export type FileSelection =
  | { ok: true; files: RepositoryFile[] }
  /** `message` says what was looked for, what the repository has, and what to set. */
  | { ok: false; code: ErrorCode; message: string };

/** What of the owner's model an engine looks at besides its settings. */
export interface ModelRequest {
  /** Hub pipeline tag, such as `text-generation`; null when the owner did not say. */
  task: string | null;
  command: readonly string[];
  args: readonly string[];
  env: Readonly<Record<string, string>>;
}

/** A contradiction between settings, or between settings and hardware. */
export interface SettingsRefusal {
  /** Dotted path in the request, such as `model.image.vLLM.tensorParallelSize`. */
  field: string;
  /** What contradicts what, and what to set instead. */
  message: string;
}

export interface ContainerInput<Settings> {
  settings: Settings;
  instance: Instance;
  /** The owner's plain environment; the platform's own variables win. */
  env: Record<string, string>;
  command: string[];
  args: string[];
  /** GPU indexes the replica was given on its host. */
  gpus: number[];
  /** Name under which the engine serves the model: the repository. */
  servedName: string;
  task?: string | null;
}

/** How a container ended, as Docker and its log tell it. */
export interface ContainerEnd {
  exitCode: number;
  oomKilled: boolean;
  logTail: string;
}

/**
 * One inference engine: everything the platform must know about it, as pure functions. Adding an engine is adding one
 * such value and its test; nothing else in the system names an engine.
 */
export interface Engine<Settings> {
  readonly name: string;
  /** The file that holds the settings' schema is `spec/images.ts`; this is its key in `model.image`. */
  readonly variant: string;
  /** Which files of the repository the engine needs below `/repository`. */
  selectFiles(
    files: readonly RepositoryFile[],
    settings: Settings,
    model?: Pick<ModelRequest, 'args' | 'env'>,
  ): FileSelection;
  /** Why these settings cannot run on this instance, or contradict each other or the request; null when they can. */
  checkSettings(settings: Settings, instance: Instance, model: ModelRequest): SettingsRefusal | null;
  /** Why the owner's arguments cannot be used, naming the field; null when they can. */
  checkArgs(args: readonly string[]): string | null;
  /** True for a variable the platform sets itself: one of that name given by the owner, secret or not, is left out. */
  ownsVariable(name: string): boolean;
  /** @throws EndpointsError BAD_ARGS with the sentence of `checkArgs` */
  container(input: ContainerInput<Settings>): ContainerDescription;
  /** What the image asks of the driver of a host with NVIDIA GPUs; null, or left out, where that is not known. */
  driverNeed?(settings: Settings, env: Readonly<Record<string, string>>): DriverNeed | null;
  /** Route answered with 200 once the engine is ready; null when there is none to ask. */
  healthRoute(settings: Settings): string | null;
  readiness(settings: Settings): HttpProbe | null;
  /** A smallest real inference; null where the platform cannot know one. */
  inference(
    settings: Settings,
    servedName: string,
    model?: Pick<ModelRequest, 'task' | 'args'>,
  ): HttpProbe | null;
  /** Environment variable through which the engine takes its API key; null when it has none. */
  readonly apiKeyVariable: string | null;
  /** What its `GET /metrics` calls the numbers we know; null when it has no such route. */
  readonly metrics: MetricMap | null;
  classify(end: ContainerEnd): Failure;
}

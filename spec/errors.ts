/**
 * Every error a user can meet, in one table. `status` is the HTTP status of the control API; `retryable` tells
 * workflows whether the same step may succeed later without anyone changing anything.
 */
export const ERRORS = {
  VALIDATION_FAILED: { status: 400, retryable: false },
  INVALID_STATE: { status: 400, retryable: false },
  UNAUTHORIZED: { status: 401, retryable: false },
  FORBIDDEN: { status: 403, retryable: false },
  NOT_FOUND: { status: 404, retryable: false },
  CONFLICT: { status: 409, retryable: false },
  TOO_LARGE: { status: 413, retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, retryable: false },
  INTERNAL: { status: 500, retryable: true },
  UNAVAILABLE: { status: 503, retryable: true },
  NOT_READY: { status: 503, retryable: true },

  HUB_NOT_FOUND: { status: 400, retryable: false },
  HUB_GATED: { status: 400, retryable: false },
  HUB_AUTH: { status: 400, retryable: false },
  HUB_REVISION: { status: 400, retryable: false },
  HUB_UNREACHABLE: { status: 503, retryable: true },
  NO_USABLE_FILE: { status: 400, retryable: false },
  DOES_NOT_FIT: { status: 400, retryable: false },

  NO_CAPACITY: { status: 503, retryable: true },
  DISK_FULL: { status: 507, retryable: false },
  CHECKSUM_MISMATCH: { status: 502, retryable: false },
  DOWNLOAD_FAILED: { status: 502, retryable: true },
  IMAGE_NOT_FOUND: { status: 400, retryable: false },
  IMAGE_AUTH: { status: 400, retryable: false },
  IMAGE_PULL_FAILED: { status: 502, retryable: true },
  DOCKER_UNAVAILABLE: { status: 503, retryable: true },
  CONTAINER_EXITED: { status: 500, retryable: false },
  NOT_HEALTHY: { status: 500, retryable: false },
  INFERENCE_FAILED: { status: 500, retryable: false },
  ENGINE_ERRORS: { status: 500, retryable: false },
  BAD_ARGS: { status: 400, retryable: false },
  UNSUPPORTED_ARCH: { status: 400, retryable: false },
  FILE_MISSING: { status: 400, retryable: false },
  GPU_OOM: { status: 400, retryable: false },
  // Started anew once, by the rule of the endpoint's failures and not step by step.
  GPU_BUSY: { status: 503, retryable: false },
  NCCL_SHM: { status: 400, retryable: false },
  HOST_OOM: { status: 400, retryable: false },
  NO_GPU: { status: 400, retryable: false },
  GPU_LOST: { status: 503, retryable: true },
  DRIVER_TOO_OLD: { status: 400, retryable: false },
  CPU_ISA: { status: 400, retryable: false },
  PORT_IN_USE: { status: 500, retryable: true },
  HOST_LOST: { status: 503, retryable: true },
  UNKNOWN: { status: 500, retryable: true },
} as const satisfies Record<string, { status: number; retryable: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

/**
 * An error with a code from {@link ERRORS} and a message a user can act on: what happened, to which thing, why, and
 * what to do. Never carries a secret.
 */
export class EndpointsError extends Error {
  override readonly name = 'EndpointsError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

/** Why a replica failed: the classified cause, a sentence for the user, and the end of the engine's log. */
export interface Failure {
  code: ErrorCode;
  message: string;
  exitCode?: number;
  /** At most 4 KiB, newest lines last. Known secrets are replaced before it leaves the host. */
  logTail?: string;
}

export function isErrorCode(text: string | null | undefined): text is ErrorCode {
  return text != null && Object.hasOwn(ERRORS, text);
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

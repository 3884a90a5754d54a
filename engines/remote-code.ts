import { findFlag, flagValue } from './args.ts';
import type { ModelRequest } from './engine.ts';

const FLAG: ReadonlySet<string> = new Set(['--trust-remote-code']);

/**
 * Whether the owner allowed code from the repository to run, by flag or, in TGI and the Inference Toolkit, by variable.
 * Only then are its Python files fetched at all.
 */
export function trustsRemoteCode(model: Pick<ModelRequest, 'args' | 'env'> | undefined): boolean {
  if (!model) return false;
  if (findFlag(model.args, FLAG)) return flagValue(model.args, FLAG)?.toLowerCase() !== 'false';
  const variable = model.env.TRUST_REMOTE_CODE ?? model.env.HF_TRUST_REMOTE_CODE ?? '';
  return ['1', 'true'].includes(variable.toLowerCase());
}

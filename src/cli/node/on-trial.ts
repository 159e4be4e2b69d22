/** Updates while the running system has not passed its checks yet. */
import { IngotError } from '../../errors.ts';
import { isOnTrial } from '../../node/boot/judge-boot.ts';
import type { NodeContext } from '../../node/update.ts';
import { loadBootState } from './bless.ts';

/** Staging drops what is behind the running system. On trial, that is what the node would go back to. */
export async function isRunningOnTrial({ engine }: NodeContext): Promise<boolean> {
  return engine.name === 'ostree' && isOnTrial(await loadBootState(await engine.deployments()));
}

/** @throws IngotError UPDATE_REFUSED */
export async function requireProven(node: NodeContext): Promise<void> {
  if (!(await isRunningOnTrial(node))) return;
  throw new IngotError('UPDATE_REFUSED', 'the running system has not passed its checks yet', {
    hint: 'wait until `ingot node status` says so, or say with `ingot node bless` that it is good; --force gives up what the node would go back to',
  });
}

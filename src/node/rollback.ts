/** Going back, and keeping what one can go back to. */
import { randomUUID } from 'node:crypto';

import { IngotError } from '../errors.ts';
import { type Deployment, type Engine, requireBooted } from './engine.ts';
import type { Journal } from './journal.ts';

export interface RolledBack {
  /** Starts next. */
  readonly deployment: Deployment;
  /** A staged update that was given up for it. */
  readonly discarded: Deployment | undefined;
}

/**
 * Puts the deployment that ran before first; called again, the running one. An update that is staged is given up.
 *
 * @throws IngotError NOT_FOUND when there is nothing to go back to
 */
export async function rollBack(engine: Engine, journal: Journal): Promise<RolledBack> {
  const before = await engine.deployments();
  requireBooted(before);
  const target = before.find(({ isRollback }) => isRollback);
  if (target === undefined) {
    throw new IngotError('NOT_FOUND', 'there is no other deployment to go back to', {
      hint: 'the first update keeps the system that it replaces; `ingot node status` shows what is there',
    });
  }
  const update = randomUUID();
  const staged = before.find(({ isStaged }) => isStaged);
  await engine.makeDefault(target);
  if (staged !== undefined) {
    await journal.append({
      update,
      event: 'discarded',
      ...toldOf(staged),
      reason: 'given up for a rollback',
    });
  }
  await journal.append({ update, event: 'rollback', ...toldOf(target), reason: 'asked for' });
  return { deployment: target, discarded: staged };
}

/**
 * The deployment that a person names: its place, `booted`, `rollback`, or the beginning of its id.
 *
 * @throws IngotError USAGE, NOT_FOUND
 */
export function chooseDeployment(deployments: readonly Deployment[], name: string): Deployment {
  const isIndex = /^\d{1,3}$/.test(name);
  const fitting = deployments.filter(({ index, id, isBooted, isRollback, isStaged }) => {
    if (isIndex) return index === Number(name);
    if (name === 'booted') return isBooted;
    if (name === 'rollback') return isRollback;
    if (name === 'staged') return isStaged;
    return /^[0-9a-f]{6,}/.test(name) && id.startsWith(name);
  });
  const [found, other] = fitting;
  if (found === undefined) {
    throw new IngotError('NOT_FOUND', `there is no deployment ${JSON.stringify(name)}`, {
      hint: 'name one by its number in `ingot node status`, or as booted or rollback',
    });
  }
  if (other === undefined) return found;
  throw new IngotError('USAGE', `${name} begins the name of ${fitting.length} deployments`, {
    hint: 'write more of it, or its number in `ingot node status`',
  });
}

/** @throws IngotError USAGE for one that is only staged */
export async function setPinned(engine: Engine, name: string, isPinned: boolean): Promise<Deployment> {
  const deployment = chooseDeployment(await engine.deployments(), name);
  if (deployment.isStaged) {
    throw new IngotError('USAGE', 'a staged deployment is not there yet, and cannot be pinned', {
      hint: 'restart into it, then pin it',
    });
  }
  if (deployment.isPinned !== isPinned) await engine.setPinned(deployment, isPinned);
  return { ...deployment, isPinned };
}

function toldOf({ reference, digest, version }: Deployment): {
  readonly reference?: string;
  readonly digest?: NonNullable<Deployment['digest']>;
  readonly version?: string;
} {
  return {
    ...(reference !== undefined && { reference }),
    ...(digest !== undefined && { digest }),
    ...(version !== undefined && { version }),
  };
}

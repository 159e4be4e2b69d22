/**
 * How a node goes over to another deployment: by restarting user space alone, where all that the kernel was started
 * with and has loaded stays (systemd-soft-reboot.service(8)), else in full.
 */
import { randomUUID } from 'node:crypto';

import type { Reboot } from '../../compare/reboot.ts';
import { IngotError } from '../../errors.ts';
import { asDiskFailure } from '../../ostree/disk-tools.ts';
import { run } from '../../proc/run.ts';
import type { Deployment, Engine } from '../engine.ts';
import { asNodeFailure } from '../host-tools.ts';
import type { JournalEntry } from '../journal.ts';
import type { NodeContext } from '../update.ts';

/** What a person wants: `auto` is soft where it does. */
export const SOFT_REBOOT_CHOICES = ['auto', 'never', 'required'] as const;
export type SoftRebootChoice = (typeof SOFT_REBOOT_CHOICES)[number];

export interface Restart {
  readonly kind: 'none' | 'soft' | 'full';
  /** Why it is a full one. */
  readonly reasons: readonly string[];
}

/** @param reboot of the two images; @param obstacles what of this machine stands in the way */
export function restartFor(reboot: Reboot, obstacles: readonly string[]): Restart {
  if (reboot.kind === 'none') return { kind: 'none', reasons: [] };
  const untold = reboot.reasons.map((reason) => `nothing tells ${reason}`);
  const reasons = [...(reboot.kind === 'unknown' ? untold : reboot.reasons), ...obstacles];
  return { kind: reboot.kind === 'soft' && obstacles.length === 0 ? 'soft' : 'full', reasons };
}

/** What stands in the way of any soft reboot of this machine. */
export async function softRebootObstacles(engine: Engine): Promise<readonly string[]> {
  return engine.softReboot === undefined
    ? [`${engine.name} makes no soft reboot here`]
    : await engine.softReboot.obstacles();
}

/** @throws IngotError RESTART_NEEDED when a soft one is required and does not do */
export function chooseRestart(restart: Restart, choice: SoftRebootChoice): Restart {
  if (restart.kind === 'none') return restart;
  if (choice === 'never') return { kind: 'full', reasons: ['a full one was asked for'] };
  if (choice === 'auto' || restart.kind === 'soft') return restart;
  throw new IngotError('RESTART_NEEDED', `only a full restart does: ${restart.reasons.join('; ')}`, {
    hint: 'the update stays staged: without `--soft-reboot required`, `ingot node upgrade --apply` restarts in full',
  });
}

/** Of a deployment that is there: what is on the disk is compared. */
export async function judgeRestart({ engine }: NodeContext, to: Deployment): Promise<Restart> {
  const reboot = (await engine.softReboot?.judge(to)) ?? { kind: 'unknown', reasons: [] };
  return restartFor(reboot, await softRebootObstacles(engine));
}

/**
 * Goes down, into the deployment that is staged or starts next. When this returns, it happens.
 *
 * @param isFullAllowed in the place of a soft one that cannot be prepared
 * @throws IngotError NODE_FAILED when something holds a restart up, such as a running job
 */
export async function restartInto(
  node: NodeContext,
  to: Deployment,
  { kind }: Restart,
  isFullAllowed: boolean,
): Promise<Restart['kind']> {
  const { engine, journal, reporter } = node;
  // What holds a restart up, such as a running job, refuses here, before anything is final.
  await systemctl(['reboot', '--dry-run', '--check-inhibitors=yes'], node);
  const { entries } = await journal.read();
  const staged = entries.findLast(({ event, digest }) => event === 'staged' && digest === to.digest);
  const told: Omit<JournalEntry, 'at' | 'event'> = {
    update: staged?.update ?? randomUUID(),
    ...(to.reference !== undefined && { reference: to.reference }),
    ...(to.digest !== undefined && { digest: to.digest }),
    ...(to.version !== undefined && { version: to.version }),
    ...(staged?.bootId !== undefined && { bootId: staged.bootId }),
  };
  const go = async (how: 'soft' | 'full'): Promise<'soft' | 'full'> => {
    // Before: afterwards there may be no time. The clock between this line and the end of the start is the downtime.
    await journal.append({ ...told, event: 'restarting', restart: how });
    try {
      if (how === 'soft') await engine.softReboot?.start(to);
      else
        await asNodeFailure(run(['systemctl', 'reboot', '--check-inhibitors=yes'], { signal: node.signal }));
      return how;
    } catch (error) {
      const reason = error instanceof IngotError ? error.message : 'an error of its own';
      await journal.append({ ...told, event: 'staged', reason: `not restarted: ${reason}` });
      throw error;
    }
  };
  if (kind !== 'soft') return await go('full');
  try {
    return await go('soft');
  } catch (error) {
    if (!isFullAllowed || !(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
    reporter.warning(`no soft reboot: ${error.message}`);
    return await go('full');
  }
}

async function systemctl(words: readonly string[], { signal }: NodeContext): Promise<void> {
  await asNodeFailure(asDiskFailure(run(['systemctl', ...words], { signal })));
}

export interface LastRestart {
  readonly kind: 'soft' | 'full';
  /** When it was asked for, ISO 8601. */
  readonly at: string;
  /** From then until everything was started again; undefined while it is not, or when the clock was set. */
  readonly seconds?: number;
}

/**
 * How the running deployment was last restarted into.
 *
 * @param bootId of the running deployment
 * @param finished when the start ended, in seconds since the epoch
 */
export function lastRestart(
  entries: readonly JournalEntry[],
  bootId: string | undefined,
  finished: number | undefined,
): LastRestart | undefined {
  const asked = entries.findLast(({ event }) => event === 'restarting' || event === 'staged');
  if (asked?.restart === undefined || bootId === undefined || asked.bootId !== bootId) return undefined;
  const seconds = finished === undefined ? -1 : finished - Date.parse(asked.at) / 1000;
  return {
    kind: asked.restart,
    at: asked.at,
    ...(seconds > 0 && { seconds: Math.round(seconds * 10) / 10 }),
  };
}

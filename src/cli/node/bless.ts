/** `ingot node bless`: what a start that passed its checks means. The last of the units of a start runs it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { IngotError } from '../../errors.ts';
import { bless, type Blessed, menuOf } from '../../node/boot/bless.ts';
import { GRUB_ENVIRONMENT, readEnvironment } from '../../node/boot/grub-environment.ts';
import {
  type BackReason,
  type BootState,
  describeBoot,
  parseBackReason,
} from '../../node/boot/judge-boot.ts';
import type { Deployment } from '../../node/engine.ts';
import { readFailure } from '../../node/gate/last-verdict.ts';
import { TRIAL_MARK } from '../../node/restart/ostree-soft-reboot.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { VERDICT_FILE } from './check.ts';
import { lockNode, openNode } from './open-node.ts';
import { readIfThere } from './read-if-there.ts';

/**
 * Units that would restart a system on trial look for it, and `grub-mkconfig` for the id in it when GRUB's environment
 * is damaged.
 */
const BLESSED_MARK = '/run/ingot/blessed';
const COMMAND_LINE = '/proc/cmdline';

/** How the running system stands. An environment that cannot be read says nothing. */
export async function loadBootState(deployments: readonly Deployment[]): Promise<BootState> {
  const environment = await readEnvironment(GRUB_ENVIRONMENT).catch((error: unknown) => {
    if (!(error instanceof IngotError)) throw error;
    return undefined;
  });
  return describeBoot({ entries: menuOf(deployments), environment, back: await loadBackReason() });
}

/** Why GRUB did not start its first entry. */
async function loadBackReason(): Promise<BackReason | undefined> {
  // After a soft reboot the command line is that of the system before, which may be one that GRUB went back to.
  if ((await readIfThere(TRIAL_MARK)) !== undefined) return undefined;
  return parseBackReason(await readFile(COMMAND_LINE, 'utf8'));
}

export async function blessNode(context: CommandContext): Promise<CommandResult> {
  const { engine, journal } = await openNode(context);
  // Somebody may be staging an update. This one only waits for a moment, and must not be lost.
  await using _lock = await lockNode(context, true);
  const blessed: Blessed =
    engine.name === 'ostree'
      ? await bless({
          engine,
          journal,
          environmentFile: GRUB_ENVIRONMENT,
          back: await loadBackReason(),
          lastVerdict: await readFailure(VERDICT_FILE),
        })
      : { verdict: { kind: 'nameless' } };
  const { verdict, bad, removed, reason } = blessed;
  if (verdict.kind === 'good' || verdict.kind === 'known') {
    await mkdir(dirname(BLESSED_MARK), { recursive: true });
    await writeFile(BLESSED_MARK, `${verdict.id}\n`);
  }
  return {
    json: {
      verdict: verdict.kind,
      ...(bad !== undefined && {
        bad: {
          id: bad.id,
          ...(bad.bootId !== undefined && { bootId: bad.bootId }),
          ...(bad.version !== undefined && { version: bad.version }),
          ...(bad.digest !== undefined && { digest: bad.digest }),
        },
      }),
      ...(removed !== undefined && { removed }),
      ...(reason !== undefined && { reason }),
    },
    text: sentenceOf(blessed),
  };
}

function sentenceOf({ verdict, bad, removed, reason }: Blessed): string {
  switch (verdict.kind) {
    case 'good':
      return `${verdict.id} is good from now on`;
    case 'known':
      return `${verdict.id} is known to be good`;
    case 'back':
      return [
        `${bad?.version ?? verdict.badId} was not good (${reason ?? 'nobody knows why'})`,
        removed === true ? 'it is removed' : 'it is pinned, so it is kept, and no longer starts first',
      ].join(': ');
    case 'uncounted':
      return 'GRUB could not count, so it did not start the update; its environment is written anew, and the next restart tries it';
    case 'other':
      return 'another system than the first of the boot menu was started by hand; nothing changes';
    case 'nameless':
      return 'what runs has no ingot.id, so GRUB counts nothing';
  }
}

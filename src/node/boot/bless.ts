/**
 * Carries out what a start that passed its gate means (`judgeBoot`). The order is such that a power loss at any point
 * leaves what the next start takes up again: first the journal, then the deployments, last GRUB's environment. Until
 * that is written GRUB starts what it started before.
 */
import { randomUUID } from 'node:crypto';

import type { Deployment, Engine } from '../engine.ts';
import type { Journal, JournalEntry } from '../journal.ts';
import type { LastVerdict } from '../gate/last-verdict.ts';
import { type GrubEnvironment, readEnvironment, writeEnvironment } from './grub-environment.ts';
import {
  type BackReason,
  type BootVerdict,
  ENVIRONMENT_KEYS,
  judgeBoot,
  type MenuEntry,
  nextEnvironment,
} from './judge-boot.ts';

export interface BlessOptions {
  readonly engine: Engine;
  readonly journal: Journal;
  /** GRUB's block. */
  readonly environmentFile: string;
  readonly back: BackReason | undefined;
  /** The last that the gate said, in whichever start. */
  readonly lastVerdict: LastVerdict | undefined;
}

export interface Blessed {
  readonly verdict: BootVerdict;
  /** That GRUB has gone back from. */
  readonly bad?: Deployment;
  /** What became of it: a pinned one is kept, behind what runs. */
  readonly removed?: boolean;
  /** Why it was not good, in a sentence. */
  readonly reason?: string;
}

/** What is staged gets its entry when the system goes down. */
export function menuOf(deployments: readonly Deployment[]): readonly MenuEntry[] {
  return deployments.filter(({ isStaged }) => !isStaged);
}

/** Does what is to be done, and may be called any number of times. @throws IngotError NODE_FAILED, DISK_FULL */
export async function bless(options: BlessOptions): Promise<Blessed> {
  const { engine, journal, environmentFile, back } = options;
  const deployments = await engine.deployments();
  const environment = await readEnvironment(environmentFile);
  const verdict = judgeBoot({ entries: menuOf(deployments), environment, back });
  const { entries } = await journal.read();
  const record = (event: JournalEntry['event'], bootId: string, told: object): Promise<void> =>
    journal.append({ update: updateOf(entries, bootId), event, bootId, ...told });

  await finishSettling(journal, entries, deployments);
  if (verdict.kind === 'back') {
    const bad = deployments.find(({ isStaged, bootId }) => !isStaged && bootId === verdict.badId);
    if (bad === undefined) return { verdict };
    const reason = sentenceOf(verdict.reason, bad, options.lastVerdict);
    // Before it is gone: whatever happens now, this image is not offered again.
    if (lastEvent(entries, verdict.badId) !== 'bad') {
      await record('bad', verdict.badId, { ...toldOf(bad), reason });
    }
    const removed = await giveWay(engine, deployments, bad);
    await record('settled', verdict.badId, { ...toldOf(bad), reason });
    await finish(options, verdict, environment);
    return { verdict, bad, removed, reason };
  }
  if (verdict.kind === 'good' && lastEvent(entries, verdict.id) !== 'good') {
    const own = deployments.find(({ isBooted }) => isBooted);
    await record('good', verdict.id, { ...(own !== undefined && toldOf(own)), reason: 'its checks passed' });
  }
  await finish(options, verdict, environment);
  return { verdict };
}

async function finish(
  { engine, environmentFile }: BlessOptions,
  verdict: BootVerdict,
  before: GrubEnvironment | undefined,
): Promise<void> {
  const after = nextEnvironment(verdict, menuOf(await engine.deployments()), before);
  if (after !== undefined) await writeEnvironment(environmentFile, after, ENVIRONMENT_KEYS);
}

/** What a person pinned is not removed, and is no longer what starts first. */
async function giveWay(
  engine: Engine,
  deployments: readonly Deployment[],
  bad: Deployment,
): Promise<boolean> {
  const own = deployments.find(({ isBooted }) => isBooted);
  if (bad.isPinned && own !== undefined) {
    await engine.makeDefault(own);
    return false;
  }
  await engine.remove(bad);
  return true;
}

/** The power went between the removal of a deployment that was not good and the entry that says so. */
async function finishSettling(
  journal: Journal,
  entries: readonly JournalEntry[],
  deployments: readonly Deployment[],
): Promise<void> {
  const seen = new Set<string>();
  for (const { bootId, ...entry } of entries.toReversed()) {
    if (bootId === undefined || seen.has(bootId)) continue;
    seen.add(bootId);
    if (entry.event !== 'bad' || deployments[0]?.bootId === bootId) continue;
    if (deployments.some((one) => one.bootId === bootId && !one.isPinned)) continue;
    const { at: _, ...rest } = entry;
    await journal.append({ ...rest, bootId, event: 'settled' });
  }
}

function lastEvent(entries: readonly JournalEntry[], bootId: string): JournalEntry['event'] | undefined {
  return entries.findLast((entry) => entry.bootId === bootId)?.event;
}

/** The update that staged it, so that its history tells the end too. */
function updateOf(entries: readonly JournalEntry[], bootId: string): string {
  return entries.find((entry) => entry.bootId === bootId)?.update ?? randomUUID();
}

function sentenceOf(reason: BackReason, bad: Deployment, last: LastVerdict | undefined): string {
  if (reason === 'unloadable') return 'its kernel could not be loaded';
  if (last?.deployment !== bad.id || last.healthy)
    return 'it was started, and never got as far as its checks';
  const failed = last.checks.filter(({ healthy, required }) => required && !healthy);
  return `its checks did not pass: ${failed.map(({ name }) => name).join(', ')}`;
}

export function toldOf({
  reference,
  digest,
  version,
}: Deployment): Pick<JournalEntry, 'reference' | 'digest' | 'version'> {
  return {
    ...(reference !== undefined && { reference }),
    ...(digest !== undefined && { digest }),
    ...(version !== undefined && { version }),
  };
}

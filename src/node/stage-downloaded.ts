/** What was downloaded last becomes what starts next. No registry is asked: its signature was checked when it came. */
import { IngotError } from '../errors.ts';
import { boundOfOffer } from './bound/bound-content.ts';
import { requireBooted } from './engine.ts';
import type { JournalEntry } from './journal.ts';
import {
  type FinishedUpdate,
  type NodeContext,
  requireAcceptable,
  stageImage,
  type UpdateOptions,
} from './update.ts';

/** After these another system runs, which may take other signatures, or the download is used up. */
const ENDS: ReadonlySet<JournalEntry['event']> = new Set([
  ...(['staged', 'restarting', 'rollback', 'good', 'bad', 'settled'] as const),
]);

/** @throws IngotError NOT_FOUND when nothing is; UPDATE_REFUSED */
export async function stageDownloaded(
  node: NodeContext,
  options: Pick<UpdateOptions, 'allowDowngrade' | 'force'>,
): Promise<FinishedUpdate> {
  const { engine, journal, bound } = node;
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 100) / 10;
  const booted = requireBooted(await engine.deployments());
  const told = lastDownload((await journal.read()).entries);
  const image = told === undefined ? undefined : await engine.fetched(told.reference, told.digest);
  if (told === undefined || image === undefined) {
    throw new IngotError('NOT_FOUND', 'nothing that was downloaded waits to be staged', {
      hint: '`ingot node upgrade --download-only` downloads; `ingot node upgrade` does both',
    });
  }
  await requireAcceptable(node, image, booted, options);
  const plan = await engine.planFetch(image);
  const content = await bound.plan(boundOfOffer(image), { path: '/sysroot', neededBytes: 0 });
  if (content.bytes > 0) {
    throw new IngotError('NOT_FOUND', 'containers or models of what was downloaded are here no more', {
      hint: '`ingot node upgrade` pulls what is missing',
    });
  }
  const trust = { verdict: told.signed === true ? 'signed' : 'accepted', keys: [], rule: undefined } as const;
  const { update, reference, digest, version } = told;
  const deployment = await stageImage(node, image, trust, {
    ...{ update, reference, digest, seconds },
    ...(version !== undefined && { version }),
  });
  return {
    image,
    booted,
    trust,
    plan,
    bound: content,
    state: 'available',
    done: 'staged',
    seconds: seconds(),
    deployment,
  };
}

function lastDownload(
  entries: readonly JournalEntry[],
):
  | (JournalEntry & { readonly reference: string; readonly digest: NonNullable<JournalEntry['digest']> })
  | undefined {
  const at = entries.findLastIndex(({ event }) => event === 'downloaded');
  const found = entries[at];
  if (found?.reference === undefined || found.digest === undefined) return undefined;
  if (entries.slice(at + 1).some(({ event }) => ENDS.has(event))) return undefined;
  return { ...found, reference: found.reference, digest: found.digest };
}

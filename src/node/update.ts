/**
 * One update of this node, from a name to a deployment that starts next. Every step can be interrupted and repeated:
 * what was pulled stays, and nothing that runs is touched. What happens, and why it ended, is in the journal.
 */
import { randomUUID } from 'node:crypto';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { ImageLocation } from '../publish/location.ts';
import { wantedOf } from '../publish/location.ts';
import { formatBytes } from '../report/format.ts';
import type { Reporter } from '../report/events.ts';
import type { TrustPolicy } from '../trust/policy.ts';
import { boundOfOffer, collectBound } from './bound/bound-content.ts';
import { type BoundPlan, type BoundStore, type OpenPlace, requireBoundRoom } from './bound/bound-store.ts';
import { checkTrust, type TrustVerdict } from './check-trust.ts';
import {
  type Deployment,
  type Engine,
  type Fetched,
  type FetchPlan,
  type OfferedImage,
  requireBooted,
} from './engine.ts';
import type { HostGpu } from './host-gpus.ts';
import type { Journal, JournalEntry } from './journal.ts';
import { findDeltas } from './find-deltas.ts';
import { judgeOffer } from './judge-offer.ts';
import { readOffer } from './read-offer.ts';

export interface NodeContext {
  readonly engine: Engine;
  /** Containers and models that belong to deployments. */
  readonly bound: BoundStore;
  readonly journal: Journal;
  /** Of the running image. */
  readonly policy: TrustPolicy | undefined;
  readonly gpus: readonly HostGpu[];
  /** As OCI names it. */
  readonly architecture: string;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface UpdateOptions {
  /** What the node is to follow from now on. */
  readonly reference: string;
  readonly location: ImageLocation;
  readonly source: ImageSource;
  /** Where containers and models of the image come from. */
  readonly openPlace: OpenPlace;
  readonly allowDowngrade?: boolean | undefined;
  readonly force?: boolean | undefined;
  /** The running image itself says that this is followed, so that need not be written down. */
  readonly isImplied?: boolean | undefined;
}

/** What would be done, and everything that is known before a layer is pulled. */
export interface PreparedUpdate {
  readonly image: OfferedImage;
  readonly booted: Deployment;
  readonly trust: TrustVerdict;
  readonly plan: FetchPlan;
  /** What belongs to the image, and what is missing of it. */
  readonly bound: BoundPlan;
  /** `current`: it runs; `staged`: it is prepared to start next; `available`: there is something to do. */
  readonly state: 'current' | 'staged' | 'available';
}

export interface FinishedUpdate extends PreparedUpdate {
  /** What was done. */
  readonly done: 'nothing' | 'downloaded' | 'staged';
  readonly seconds: number;
  readonly deployment: Deployment | undefined;
}

/**
 * Resolves the name and decides. Changes nothing.
 *
 * @throws IngotError UPDATE_REFUSED with everything that speaks against the image; NODE_UNSUITED; DISK_FULL
 */
export async function prepareUpdate(node: NodeContext, options: UpdateOptions): Promise<PreparedUpdate> {
  const { engine, policy, signal, reporter } = node;
  const { reference, location, source } = options;
  const deployments = await engine.deployments();
  const booted = requireBooted(deployments);
  const { offer, trust } = await reporter.stage(`Look at ${reference}`, async (stage) => {
    const { architecture } = node;
    const found = await readOffer(source, {
      reference,
      wanted: wantedOf(location),
      architecture,
      signal,
    });
    const verdict = await checkTrust(source, location, found.root, policy, { signal });
    stage.detail(`${found.version}, ${verdict.verdict}`);
    return { offer: found, trust: verdict };
  });
  await requireAcceptable(node, offer, booted, options);
  const plan = await planWithDeltas(node, offer, trust, options);
  const bound = await node.bound.plan(boundOfOffer(offer), {
    path: '/sysroot',
    neededBytes: plan.neededBytes,
  });
  const [first] = deployments;
  const isFollowed =
    first?.reference === reference || (options.isImplied === true && first?.reference === undefined);
  const state =
    first?.digest !== offer.digest || !isFollowed ? 'available' : first.isBooted ? 'current' : 'staged';
  return { image: offer, booted, trust, plan, bound, state };
}

async function planWithDeltas(
  { engine, policy, reporter, signal }: NodeContext,
  offer: OfferedImage,
  trust: TrustVerdict,
  { source, location }: UpdateOptions,
): Promise<FetchPlan> {
  const plan = await engine.planFetch(offer);
  try {
    const { missing } = plan;
    const deltas = await findDeltas(offer, { source, location, engine, policy, trust, missing, signal });
    return deltas.length === 0 ? plan : await engine.planFetch(offer, deltas);
  } catch (error) {
    if (signal?.aborted === true || !(error instanceof Error)) throw error;
    reporter.warning(`whole layers are pulled, since deltas cannot be found: ${error.message}`);
    return plan;
  }
}

/** @throws IngotError UPDATE_REFUSED with everything that speaks against it but its signature */
export async function requireAcceptable(
  node: NodeContext,
  offer: OfferedImage,
  booted: Deployment,
  options: Pick<UpdateOptions, 'allowDowngrade' | 'force'>,
): Promise<void> {
  const refusals = judgeOffer(offer, {
    ...options,
    booted,
    gpus: node.gpus,
    architecture: node.architecture,
    bad: badDigests((await node.journal.read()).entries),
  });
  if (refusals.length === 0) return;
  const flags = refusals.map(({ flag }) => flag);
  const known = [...new Set(flags.filter((flag) => flag !== undefined))];
  throw new IngotError('UPDATE_REFUSED', refusals.map(({ message }) => message).join('; '), {
    ...(flags.includes(undefined) || known.length === 0
      ? {}
      : { hint: `${known.join(' and ')} take${known.length === 1 ? 's' : ''} it all the same` }),
  });
}

export interface RunUpdateOptions extends UpdateOptions {
  readonly isDownloadOnly?: boolean | undefined;
  /** A timer asks again and again: what ended the last one is not written down a second time. */
  readonly isUnattended?: boolean | undefined;
}

/**
 * Does it: pulls what is missing, and unless `isDownloadOnly` prepares it to start next.
 *
 * @throws IngotError as `prepareUpdate`, and what pulling and ostree throw
 */
export async function runUpdate(node: NodeContext, options: RunUpdateOptions): Promise<FinishedUpdate> {
  const { engine, journal, reporter } = node;
  const update = randomUUID();
  const started = performance.now();
  const seconds = (): number => Math.round((performance.now() - started) / 100) / 10;
  let told: Pick<JournalEntry, 'reference' | 'digest' | 'version'> = { reference: options.reference };
  try {
    let prepared = await prepareUpdate(node, options);
    const { image, plan, state, trust } = prepared;
    told = { reference: image.reference, digest: image.digest, version: image.version };
    if (state !== 'available')
      return { ...prepared, done: 'nothing', seconds: seconds(), deployment: undefined };
    requireRoom(plan);
    requireBoundRoom(prepared.bound);
    if (options.isDownloadOnly === true) await engine.requireDownload(image);
    if (options.isDownloadOnly === true && options.isUnattended === true && prepared.bound.bytes === 0) {
      // It was written down when it was.
      if (await engine.isFetched(image))
        return { ...prepared, done: 'downloaded', seconds: seconds(), deployment: undefined };
    }
    await journal.append({ update, event: 'started', ...told });
    const done = await reporter.stage('Pull and import', async (stage): Promise<FetchPlan> => {
      if (await engine.isFetched(image)) {
        stage.cached('everything is here');
        return plan;
      }
      const warn = (message: string): void => {
        reporter.warning(message);
      };
      const fetched = asFetched(plan, await engine.fetch(image, options.source, { stage, warn }));
      stage.detail(`${formatBytes(fetched.bytes)} in ${fetched.missing.length} layers`);
      return fetched;
    });
    prepared = { ...prepared, plan: done };
    const content = boundOfOffer(image);
    await node.bound.fetch(content, options.openPlace);
    const bytes = done.bytes + prepared.bound.bytes;
    const signed = trust.verdict === 'signed';
    await journal.append({ update, event: 'downloaded', ...told, bytes, signed, seconds: seconds() });
    if (options.isDownloadOnly === true) {
      return { ...prepared, done: 'downloaded', seconds: seconds(), deployment: undefined };
    }
    const deployment = await stageImage(node, image, trust, { update, ...told, seconds });
    return { ...prepared, done: 'staged', seconds: seconds(), deployment };
  } catch (error) {
    if (error instanceof IngotError && error.code !== 'NODE_UNSUITED') {
      const { code, message } = error;
      const event = code === 'UPDATE_REFUSED' ? 'refused' : code === 'INTERRUPTED' ? 'interrupted' : 'failed';
      const last = (await journal.read().catch(() => undefined))?.entries.at(-1);
      const isRepeated = last?.event === event && last.reason === message && last.digest === told.digest;
      if (isRepeated && options.isUnattended === true) throw error;
      // A journal that cannot be written, on a disk that is full, must not hide why.
      await journal.append({ update, event, ...told, code, reason: message }).catch(() => undefined);
    }
    throw error;
  }
}

/** The plan as it came about. */
function asFetched(plan: FetchPlan, { unplanned }: Fetched): FetchPlan {
  const whole = new Set(unplanned.map(({ digest }) => digest));
  return {
    ...plan,
    bytes: plan.bytes + unplanned.reduce((sum, { size }) => sum + size, 0),
    deltas: plan.deltas.filter(({ layer }) => !whole.has(layer)),
  };
}

/** What is here becomes what starts next, and what it has pushed out goes. */
export async function stageImage(
  { engine, journal, reporter, bound }: NodeContext,
  image: OfferedImage,
  trust: Pick<TrustVerdict, 'verdict'>,
  { seconds, ...told }: Pick<JournalEntry, 'update' | 'reference'> & { readonly seconds: () => number },
): Promise<Deployment> {
  const deployment = await reporter.stage('Stage', () =>
    engine.stage(image, { isSignatureWanted: trust.verdict === 'signed' }),
  );
  const { bootId } = deployment;
  await journal.append({
    ...told,
    event: 'staged',
    ...(bootId !== undefined && { bootId }),
    seconds: seconds(),
  });
  // That it is staged stands, whatever comes of this.
  try {
    await engine.collect(new Set([image.digest]));
    await collectBound(bound, await engine.deployments(), [boundOfOffer(image)]);
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    reporter.warning(`old images were not removed: ${error.message}`);
  }
  return deployment;
}

/** Digests of images that were started and were not good. */
export function badDigests(entries: readonly JournalEntry[]): ReadonlySet<Digest> {
  const bad = new Set<Digest>();
  for (const { event, digest } of entries) {
    if (digest === undefined) continue;
    if (event === 'bad' || event === 'settled') bad.add(digest);
    // It was forced, and was good then.
    if (event === 'good') bad.delete(digest);
  }
  return bad;
}

/** @throws IngotError DISK_FULL before the first byte is pulled */
export function requireRoom({ neededBytes, freeBytes }: FetchPlan): void {
  if (neededBytes <= freeBytes) return;
  throw new IngotError(
    'DISK_FULL',
    `the update takes up to ${formatBytes(neededBytes)} while it is imported, and ${formatBytes(freeBytes)} are free`,
    { hint: '`ingot node gc` removes what no deployment needs; /var is on the same disk' },
  );
}

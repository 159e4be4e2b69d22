/**
 * Whether an image comes out the same when it is built again from nothing: in a store of its own that shares only the
 * packages, each hashed before it is used. Where it does not, says where the two differ.
 */
import { link, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

import { storeAgent } from '../agent/agent.ts';
import { buildImage } from '../build/build-image.ts';
import { hexOf, type Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { readJsonBlob } from '../oci/blob.ts';
import { compareArchives, type ArchiveDifference } from '../oci/compare-archives.ts';
import { layerContents } from '../oci/layer-contents.ts';
import { resolveImage } from '../oci/layout.ts';
import { Manifest, type Descriptor } from '../oci/schema.ts';
import { fetchPackages } from '../packages/fetch.ts';
import { formatOf } from '../packages/package.ts';
import { loadMirrors, type Mirrors } from '../packages/mirror.ts';
import { archiveMirrors } from '../packages/rpm/archive-mirrors.ts';
import { Store } from '../store/store.ts';
import type { BuildOutcome } from './commands/build.ts';
import type { CommandContext } from './context.ts';
import { scriptSilenceMs } from './script-silence.ts';
import { useStore } from './use-store.ts';

export interface LayerDifference extends ArchiveDifference {
  /** The step, and the chunk of it. */
  readonly layer: string;
  readonly chunk: string;
}

export interface BuildVerification {
  readonly reproducible: boolean;
  /** Of the second build. */
  readonly digest: Digest;
  /** The first ones, in the order of the layers. */
  readonly differences: readonly LayerDifference[];
  /** How many there are in all. */
  readonly differing: number;
  readonly seconds: number;
}

const SHOWN = 20;

/** @throws IngotError as building does */
export async function verifyBuild(
  context: CommandContext,
  first: Pick<BuildOutcome, 'plan' | 'lock' | 'spec' | 'layout' | 'moduleSigner' | 'agent'>,
): Promise<BuildVerification> {
  const started = performance.now();
  const { reporter, signal } = context;
  const { plan, lock, spec, layout, moduleSigner, agent } = first;
  const mirrors = async (): Promise<Mirrors> =>
    archiveMirrors(await loadMirrors(context.env, signal), lock.archives, signal);
  await using inUse = await useStore(context);
  await using scratch = await inUse.store.scratch('verify');
  const store = await Store.open(scratch.path);
  reporter.info('building again from nothing, to compare');
  const packages = plan.steps.flatMap(({ packages: own, modules, rpm }) => [
    ...own,
    ...(modules?.compile.packages ?? []),
    ...(rpm?.tools.packages ?? []),
  ]);
  await reporter.stage('Fetch packages', async (stage) => {
    const created = new Date(plan.epoch * 1000);
    await fetchPackages(packages, { store: inUse.store, mirrors: await mirrors(), created, stage, signal });
  });
  for (const item of packages) {
    const { sha256 } = item;
    const format = formatOf(item);
    const path = store.packagePath(sha256, format);
    await mkdir(dirname(path), { recursive: true });
    await link(inUse.store.packagePath(sha256, format), path).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error; // two layers share it
    });
  }
  for (const { digest } of plan.steps[0]?.image?.layers ?? []) {
    await link(inUse.store.blobPath(hexOf(digest)), store.blobPath(hexOf(digest)));
  }
  if (agent !== undefined) await storeAgent(store, agent);
  const locate = spec.sources.at.bind(spec.sources);
  const silence = scriptSilenceMs(context.env);
  const { digest, manifest } = await buildImage({
    plan,
    store,
    mirrors,
    reporter,
    signal,
    moduleSigner,
    locate,
    scriptSilenceMs: silence,
  });

  const image = await resolveImage({ directory: layout, name: plan.version });
  const same = image.digest === digest;
  const found = same
    ? { differences: [], differing: 0 }
    : await reporter.stage('Compare layers', async () => {
        const path = (blob: Digest): string => store.blobPath(hexOf(blob));
        const again = await readJsonBlob(path(manifest.digest), manifest, Manifest, 'image manifest');
        return compareLayers(
          { layers: image.manifest.layers, blobPath: image.blobPath },
          { layers: again.layers, blobPath: path },
          signal,
        );
      });
  return { reproducible: same, digest, ...found, seconds: (performance.now() - started) / 1000 };
}

export interface Layers {
  readonly layers: readonly Descriptor[];
  readonly blobPath: (digest: Digest) => string;
}

/**
 * By name, in the order of the left one's layers.
 *
 * @throws IngotError INTERRUPTED, and for damaged blobs as `verifiedChunks`
 */
export async function compareLayers(
  left: Layers,
  right: Layers,
  signal?: AbortSignal,
): Promise<Pick<BuildVerification, 'differences' | 'differing'>> {
  const differences: LayerDifference[] = [];
  let differing = 0;
  const see = (place: Place, difference: ArchiveDifference): void => {
    if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while comparing layers');
    differing += 1;
    if (differences.length < SHOWN) differences.push({ ...place, ...difference });
  };
  const others = new Map(right.layers.map((layer, index) => [nameOf(placeOf(layer, index)), layer]));
  for (const [index, layer] of left.layers.entries()) {
    const place = placeOf(layer, index);
    const other = others.get(nameOf(place));
    others.delete(nameOf(place));
    if (other === undefined) {
      see(place, { path: '', what: 'presence', left: 'a layer', right: 'nothing' });
    } else if (other.digest !== layer.digest) {
      const contents = compareArchives(
        layerContents(left.blobPath(layer.digest), layer),
        layerContents(right.blobPath(other.digest), other),
      );
      const before = differing;
      for await (const difference of contents) see(place, difference);
      if (differing > before) continue;
      see(place, { path: '', what: 'compression', left: layer.digest, right: other.digest });
    }
  }
  for (const [index, layer] of [...others.values()].entries()) {
    see(placeOf(layer, index), { path: '', what: 'presence', left: 'nothing', right: 'a layer' });
  }
  return { differences, differing };
}

type Place = Pick<LayerDifference, 'layer' | 'chunk'>;

function placeOf({ annotations }: Descriptor, index: number): Place {
  return {
    layer: annotations?.['dev.ingot.layer'] ?? `layer ${index + 1}`,
    chunk: annotations?.['dev.ingot.chunk'] ?? '',
  };
}

function nameOf({ layer, chunk }: Place): string {
  return `${layer}/${chunk}`;
}

/** What people read under the build's own report. */
export function renderVerification(verification: BuildVerification): string {
  const { reproducible, digest, differences, differing } = verification;
  if (reproducible) return 'built again from nothing: the same digest';
  const lines = differences.flatMap(({ layer, chunk, path, what, offset, left, right }) => [
    `  ${layer}${chunk === '' ? '' : ` (${chunk})`}: /${path}: ${what}${offset === undefined ? '' : ` from byte ${offset}`}`,
    `    first:  ${left}`,
    `    second: ${right}`,
  ]);
  const more = differing > differences.length ? [`  and ${differing - differences.length} more`] : [];
  return [`built again from nothing: another digest, ${digest}`, ...lines, ...more].join('\n');
}

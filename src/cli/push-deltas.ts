/** `ingot push --delta-from`: what is put beside an image for nodes that have another one. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { type ImageReader, openReader } from '../inspect/image-reader.ts';
import { imageFor, isPlainImage, readImageGraph } from '../oci/image-graph.ts';
import type { ImageSource, ManifestDocument } from '../oci/image-transfer.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { Descriptor } from '../oci/schema.ts';
import { type ImageOrigin, openSource, parseLocation, wantedOf } from '../publish/location.ts';
import { type ImageDelta, makeImageDelta } from '../publish/make-deltas.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import type { CommandContext } from './context.ts';

export interface DeltasOptions {
  readonly to: ImageOrigin;
  /** Images that nodes have, as a person wrote them. */
  readonly from: readonly string[];
  readonly registries: RegistryAccess;
  /** An empty folder of the caller's: the deltas lie there until they are sent. */
  readonly folder: string;
}

/** What came of it, for one image and one that nodes have. */
export interface MadeImageDelta extends ImageDelta {
  readonly from: string;
  readonly subject: Descriptor;
  /** What a node pulls, in words. */
  readonly told: string;
}

/**
 * One delta for each image that there is and each that nodes have, both of one architecture. Names of one image count
 * once.
 *
 * @throws IngotError NOT_FOUND when an image that nodes have is of none of the architectures, IMAGE_INVALID, DISK_FULL
 */
export async function makeDeltas(
  context: CommandContext,
  { to, from, registries, folder }: DeltasOptions,
): Promise<readonly MadeImageDelta[]> {
  const { reporter, signal, cwd } = context;
  // Before any work: what is written wrongly is said at once.
  const places = from.map((text) => ({ text, location: parseLocation(text, cwd) }));
  await using source = await openSource(to, registries);
  const { documents } = await readImageGraph(source, wantedOf(to), { signal });
  const subjects = documents.filter((document) => isPlainImage(document, source.shown));
  const made: MadeImageDelta[] = [];
  const done = new Set<string>();
  for (const { text, location } of places) {
    await using older = await openSource(location, registries);
    const root = await older.manifest(wantedOf(location), { signal });
    const foreign: IngotError[] = [];
    for (const { descriptor: subject } of subjects) {
      // Closed with the sources.
      const image = await openReader(source, subject.digest, { shown: source.shown, isLocal: true, signal });
      const olderImage = await imageAlike(image, { text, source: older, root }, signal);
      if (olderImage instanceof IngotError) {
        foreign.push(olderImage);
        continue;
      }
      const pair = `${subject.digest} ${olderImage.digest}`;
      if (done.has(pair)) continue;
      done.add(pair);
      const own = join(folder, `${done.size}`);
      await mkdir(own);
      const one = await reporter.stage(`Delta from ${text}`, async (stage) => {
        const delta = await makeImageDelta(olderImage, image, { folder: own, stage, signal });
        const told = tellDelta(delta);
        stage.detail(told);
        return { ...delta, told };
      });
      made.push({ ...one, from: text, subject });
    }
    const [first] = foreign;
    if (first !== undefined && foreign.length === subjects.length) throw first;
  }
  return made;
}

interface Older {
  readonly text: string;
  readonly source: ImageSource;
  readonly root: ManifestDocument;
}

/** The older image for the same architecture; what is wrong when there is none. */
async function imageAlike(
  { config: { architecture } }: ImageReader,
  { text, source, root }: Older,
  signal: AbortSignal,
): Promise<ImageReader | IngotError> {
  const none = (there: readonly string[]): IngotError =>
    new IngotError('NOT_FOUND', `${text} has no image for linux/${architecture}: ${there.join(', ')}`);
  let digest: Digest;
  try {
    digest = (await imageFor(architecture, source, root, none, { signal })).descriptor.digest;
  } catch (error) {
    if (error instanceof IngotError && error.code === 'NOT_FOUND') return error;
    throw error;
  }
  const image = await openReader(source, digest, { shown: text, isLocal: true, signal });
  const found = image.config.architecture;
  return found === architecture ? image : none([`linux/${found}`]);
}

function tellDelta({ artifact, bytes, withoutBytes, layers, missing }: ImageDelta): string {
  if (missing === 0) return 'a node has all of it';
  if (artifact === undefined) return `no layer is smaller as a delta: ${formatBytes(withoutBytes)}`;
  return `${formatBytes(bytes)} to pull instead of ${formatBytes(withoutBytes)}, by ${formatCount(layers, 'delta')}`;
}

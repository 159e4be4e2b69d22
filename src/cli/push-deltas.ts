/** `ingot push --delta-from`: what is put beside an image for nodes that have another one. */
import { INDEX_MEDIA_TYPES, imageFor, readDocument } from '../oci/image-graph.ts';
import { IngotError } from '../errors.ts';
import { openReader } from '../inspect/image-reader.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { Descriptor } from '../oci/schema.ts';
import { type ImageOrigin, openSource, parseLocation, wantedOf } from '../publish/location.ts';
import { type ImageDelta, makeImageDelta } from '../publish/make-deltas.ts';
import { formatBytes } from '../report/format.ts';
import type { CommandContext } from './context.ts';

export interface DeltasOptions {
  readonly to: ImageOrigin;
  /** Images that nodes have, as a person wrote them. */
  readonly from: readonly string[];
  readonly registries: RegistryAccess;
  /** A folder of the caller's: the deltas lie there until they are sent. */
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
 * One delta for each image that there is and each that nodes have, both of one architecture.
 *
 * @throws IngotError NOT_FOUND when an image that nodes have is of none of the architectures, IMAGE_INVALID
 */
export async function makeDeltas(
  context: CommandContext,
  { to, from, registries, folder }: DeltasOptions,
): Promise<readonly MadeImageDelta[]> {
  const { reporter, signal, cwd } = context;
  await using source = await openSource(to, registries);
  const root = await source.manifest(wantedOf(to), { signal });
  const subjects = INDEX_MEDIA_TYPES.has(root.descriptor.mediaType)
    ? readDocument(root, source.shown).children
    : [root.descriptor];
  const made: MadeImageDelta[] = [];
  for (const text of new Set(from)) {
    const location = parseLocation(text, cwd);
    await using older = await openSource(location, registries);
    const olderRoot = await older.manifest(wantedOf(location), { signal });
    const foreign: IngotError[] = [];
    for (const { mediaType, digest, size } of new Map(subjects.map((one) => [one.digest, one])).values()) {
      // Closed with the sources.
      const image = await openReader(source, digest, { shown: source.shown, isLocal: true, signal });
      const { architecture } = image.config;
      const none = (there: readonly string[]): IngotError =>
        new IngotError('NOT_FOUND', `${text} has no image for linux/${architecture}: ${there.join(', ')}`);
      let olderDigest;
      try {
        olderDigest = (await imageFor(architecture, older, olderRoot, none, { signal })).descriptor.digest;
      } catch (error) {
        if (!(error instanceof IngotError) || error.code !== 'NOT_FOUND') throw error;
        foreign.push(error);
        continue;
      }
      const olderImage = await openReader(older, olderDigest, { shown: text, isLocal: true, signal });
      if (olderImage.config.architecture !== architecture) {
        foreign.push(none([`linux/${olderImage.config.architecture}`]));
        continue;
      }
      const delta = await reporter.stage(`Delta from ${text}`, async (stage) => {
        const one = await makeImageDelta(olderImage, image, { folder, stage, signal });
        const told = tellDelta(one);
        stage.detail(told);
        return { ...one, told };
      });
      made.push({ ...delta, from: text, subject: { mediaType, digest, size } });
    }
    const [first] = foreign;
    if (first !== undefined && foreign.length === new Set(subjects.map(({ digest }) => digest)).size)
      throw first;
  }
  return made;
}

function tellDelta({ artifact, bytes, withoutBytes, layers, missing }: ImageDelta): string {
  if (missing === 0) return 'a node has all of it';
  if (artifact === undefined) return `no layer is smaller as a delta: ${formatBytes(withoutBytes)}`;
  return `${formatBytes(bytes)} to pull instead of ${formatBytes(withoutBytes)}, by ${layers} deltas`;
}

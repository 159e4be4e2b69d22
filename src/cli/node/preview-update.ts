/** `ingot node upgrade --check`: what the update would bring, before anything is kept of it. */
import { compareImages, type ImageDifference } from '../../compare/compare-images.ts';
import type { ImageSummary } from '../../compare/image-summary.ts';
import { withDeltas } from '../../compare/pull.ts';
import type { Digest } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { openReader } from '../../inspect/image-reader.ts';
import { readPair } from '../../inspect/read-pair.ts';
import type { PreparedUpdate } from '../../node/update.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import type { Descriptor } from '../../oci/schema.ts';
import { type ImageFacts, parseFacts } from '../../plan/image-facts.ts';
import type { CommandContext } from '../context.ts';

/**
 * The whole difference where the source still has the image that runs; else what the images say of themselves. Layers
 * that only one of them has are read, and not kept.
 */
export async function previewUpdate(
  { reporter, signal }: CommandContext,
  source: ImageSource,
  isLocal: boolean,
  prepared: PreparedUpdate,
): Promise<ImageDifference> {
  const difference = await compare({ reporter, signal }, source, isLocal, prepared);
  const deltas = new Map(prepared.plan.deltas.map(({ layer, blob }) => [layer, blob.size]));
  return difference.pull === undefined
    ? difference
    : { ...difference, pull: withDeltas(difference.pull, deltas) };
}

async function compare(
  { reporter, signal }: Pick<CommandContext, 'reporter' | 'signal'>,
  source: ImageSource,
  isLocal: boolean,
  { booted, image }: PreparedUpdate,
): Promise<ImageDifference> {
  const shown = { booted: 'the running image', offered: image.reference };
  if (booted.digest !== undefined) {
    try {
      const options = { isLocal, signal };
      const from = await openReader(source, booted.digest, { ...options, shown: shown.booted });
      const to = await openReader(source, image.digest, { ...options, shown: shown.offered });
      const pair = await reporter.stage('Compare', (stage) => readPair(from, to, { stage, signal }));
      return compareImages(pair.from, pair.to, pair.layers);
    } catch (error) {
      // The registry may have forgotten what runs here.
      if (!(error instanceof IngotError) || error.code !== 'NOT_FOUND') throw error;
    }
  }
  const { digest, version, manifest } = image;
  const facts = parseFacts(manifest.annotations ?? {});
  return compareImages(
    summarise(shown.booted, booted.digest, booted.version, booted.facts, booted.layers),
    summarise(shown.offered, digest, version, facts, manifest.layers),
  );
}

function summarise(
  shown: string,
  digest: Digest | undefined,
  version: string | undefined,
  facts: ImageFacts,
  layers: readonly Descriptor[] | undefined,
): ImageSummary {
  return { kind: 'image', shown, digest, version, facts, blobs: layers };
}

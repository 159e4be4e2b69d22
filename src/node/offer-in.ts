/** An image as its commit has it: what was offered once, and is here. */
import type { Digest } from '../digest.ts';
import type { CommitDescription } from '../ostree/commit-metadata.ts';
import { versionOf } from '../ostree/import-image.ts';
import type { OfferedImage } from './engine.ts';

/** Undefined for a commit that does not have the image's documents. */
export function offerIn(
  { manifest, config }: CommitDescription,
  reference: string,
  digest: Digest,
): OfferedImage | undefined {
  if (manifest === undefined || config === undefined) return undefined;
  return {
    reference,
    digest,
    root: digest,
    manifest,
    config,
    version: versionOf(digest, manifest.annotations),
  };
}

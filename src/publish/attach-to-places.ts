/** Artifacts beside an image at every place that it was sent to. */
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { Descriptor } from '../oci/schema.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import { type Artifact, attachArtifact } from './attach.ts';
import { openTarget } from './location.ts';
import type { Destination } from './transfer.ts';

export interface Belonging {
  /** An image that is at every place. */
  readonly subject: Descriptor;
  readonly artifact: Artifact;
}

export interface AttachToPlacesOptions {
  readonly belongings: readonly Belonging[];
  readonly to: readonly Destination[];
  readonly registries: RegistryAccess;
  /** In use by the caller. */
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @returns the artifacts' manifests: the same at every place
 * @throws IngotError NOT_FOUND when a place does not have the image, and what the targets throw
 */
export async function attachToPlaces(options: AttachToPlacesOptions): Promise<readonly Descriptor[]> {
  const { belongings, to, registries, store, reporter, signal } = options;
  const attached = new Map<string, Descriptor>();
  for (const { location, text } of to) {
    await using scratch = await store.scratch('attach');
    await using target = await openTarget(location, registries, scratch.path);
    await reporter.stage(`Attach to ${text}`, async () => {
      // One after the other: registries without the referrers API keep one list of them.
      for (const { subject, artifact } of belongings) {
        const found = await attachArtifact(target, subject, artifact, { scratch: scratch.path, signal });
        attached.set(found.digest, found);
      }
      await target.finish({ signal });
    });
  }
  return [...attached.values()];
}

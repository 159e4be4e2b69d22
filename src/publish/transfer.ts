/** The jobs behind `push`, `pull` and `copy`: one image, from one place to others. */
import { IngotError } from '../errors.ts';
import type { ManifestDocument } from '../oci/image-transfer.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import type { Signer } from '../trust/signer.ts';
import { type CopiedImage, copyImage } from './copy-image.ts';
import {
  type ImageLocation,
  type ImageOrigin,
  nameAt,
  openSource,
  openTarget,
  wantedOf,
} from './location.ts';
import { type SignedImage, signImage, type SignOptions } from './sign-image.ts';
import { StoredSource } from './stored-source.ts';

export interface Destination {
  /** As the person wrote it. */
  readonly text: string;
  readonly location: ImageLocation;
  /** Names besides the one in `location`. */
  readonly names?: readonly string[];
}

export interface TransferOptions {
  readonly from: ImageOrigin;
  readonly to: readonly Destination[];
  readonly withReferrers?: boolean | undefined;
  /** Signs it at each place before a tag leads to it. */
  readonly signing?: Signing | undefined;
  readonly registries: RegistryAccess;
  /** In use by the caller. */
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface Signing {
  readonly signer: Signer;
  readonly attest?: SignOptions['attest'];
}

export interface Transferred extends CopiedImage {
  readonly signed: SignedImage | undefined;
  readonly ref: string;
  readonly names: readonly string[];
}

/**
 * Copies the image to one destination after the other. All destinations are looked at before the first byte is sent.
 *
 * @throws IngotError USAGE and what `copyImage` throws
 */
export async function transferImage(options: TransferOptions): Promise<readonly Transferred[]> {
  const { from, registries, store, reporter, signal, signing, withReferrers = true } = options;
  const plans = options.to.map((destination) => ({ ...destination, names: namesFor(destination) }));
  const results: Transferred[] = [];
  for (const { location, text, names } of plans) {
    await using scratch = await store.scratch('copy');
    await using opened = await openSource(from, registries);
    // A layout takes files; and what comes from far is worth keeping.
    const source = location.kind === 'layout' ? new StoredSource(opened, store) : opened;
    await using target = await openTarget(location, registries, scratch.path);
    const reference = wantedOf(from);
    let signed: SignedImage | undefined;
    const beforeNamed =
      signing === undefined || location.kind !== 'registry'
        ? undefined
        : async ({ descriptor }: ManifestDocument): Promise<void> => {
            const place = location.reference;
            await using there = registries.source(place, { mirrors: false });
            const repository = `${place.registry}/${place.repository}`;
            const identity = { repository, tags: names };
            const options = { ...signing, source: there, target, identity, reporter, signal };
            signed = await signImage({ ...options, reference: descriptor.digest, scratch: scratch.path });
          };
    const copied = await copyImage({
      ...{ source, reference, target, names, withReferrers, reporter, signal },
      beforeNamed,
    });
    results.push({ ref: text, names, ...copied, signed });
  }
  return results;
}

function namesFor({ location, text, names = [] }: Destination): readonly string[] {
  const hasOwn =
    location.kind === 'registry' ? location.reference.tag !== undefined : location.name !== undefined;
  const isDigest = location.kind === 'registry' && location.reference.digest !== undefined;
  if (!hasOwn && names.length > 0 && !isDigest) return [...new Set(names)];
  return [...new Set([nameAt(location, text), ...names])];
}

/** @throws IngotError USAGE unless the place is in a registry */
export function requireRegistry(location: ImageLocation, text: string): void {
  if (location.kind === 'registry') return;
  throw new IngotError('USAGE', `${text} is not in a registry`, {
    hint: '`ingot copy` takes images from anywhere to anywhere',
  });
}

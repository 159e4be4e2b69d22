/** The jobs behind `push`, `pull` and `copy`: one image, from one place to others. */
import { type Digest, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { readImageGraph } from '../oci/image-graph.ts';
import type { ImageTarget, ManifestDocument } from '../oci/image-transfer.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { ImageReference } from '../oci/reference.ts';
import type { Descriptor } from '../oci/schema.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import type { AnySigner } from '../trust/signer.ts';
import { type Artifact, attachArtifact } from './attach.ts';
import { type CopiedImage, copyImage } from './copy-image.ts';
import {
  type ImageLocation,
  type ImageOrigin,
  nameAt,
  openSource,
  openTarget,
  wantedOf,
} from './location.ts';
import { requireAcceptedSigner } from './lock-out.ts';
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
  /** Put beside it in each registry before a tag leads to it, and signed where it is. */
  readonly belongings?: readonly Belonging[] | undefined;
  /** Signs it in each registry before a tag leads to it. */
  readonly signing?: Signing | undefined;
  readonly registries: RegistryAccess;
  /** In use by the caller. */
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface Signing {
  readonly signer: AnySigner;
  readonly attest?: SignOptions['attest'];
  readonly allowLockOut?: SignOptions['allowLockOut'];
}

/** What is told of an image besides what it is, such as the list of its packages. */
export interface Belonging {
  /** The image, or an image in it. */
  readonly subject: Descriptor;
  readonly artifact: Artifact;
}

export interface AttachedBelonging {
  readonly manifest: Descriptor;
  readonly signed: SignedImage | undefined;
}

export interface Transferred extends CopiedImage {
  readonly signed: SignedImage | undefined;
  /** Manifests of the belongings: the same at every place. */
  readonly attached: readonly AttachedBelonging[];
  readonly ref: string;
  readonly names: readonly string[];
}

/**
 * Copies the image to one destination after the other. All destinations are looked at before the first byte is sent.
 *
 * @throws IngotError USAGE, UPDATE_LOCKOUT and what `copyImage` throws
 */
export async function transferImage(options: TransferOptions): Promise<readonly Transferred[]> {
  const { from, registries, store, reporter, signal, signing, withReferrers = true } = options;
  const plans = options.to.map((destination) => ({ ...destination, names: namesFor(destination) }));
  if (signing !== undefined) await requireNoLockOut(options, signing);
  const results: Transferred[] = [];
  for (const { location, text, names } of plans) {
    await using scratch = await store.scratch('copy');
    // What `ingot build` linked into a layout was hashed when it was made; a registry hashes it once more.
    const isSound = (path: string, digest: Digest): Promise<boolean> =>
      store.isSoundLink(path, hexOf(digest));
    await using opened = await openSource(from, registries, { isSound });
    // A layout takes files; and what comes from far is worth keeping.
    const source = location.kind === 'layout' ? new StoredSource(opened, store) : opened;
    await using target = await openTarget(location, registries, scratch.path);
    const reference = wantedOf(from);
    const company =
      location.kind === 'registry'
        ? new Company({ target, place: location.reference, names, scratch: scratch.path }, options)
        : undefined;
    const copied = await copyImage({
      ...{ source, reference, target, names, withReferrers, reporter, signal },
      beforeNamed: company?.isEmpty === false ? (root) => company.put(root) : undefined,
    });
    const { signed, attached } = company ?? { signed: undefined, attached: [] };
    results.push({ ref: text, names, ...copied, signed, attached });
  }
  return results;
}

interface Place {
  readonly target: ImageTarget;
  readonly place: ImageReference;
  readonly names: readonly string[];
  /** A folder of the caller's. */
  readonly scratch: string;
}

/** What comes to be beside an image in one registry: belongings, their signatures, the image's own. */
class Company {
  signed: SignedImage | undefined;
  readonly attached: AttachedBelonging[] = [];
  readonly #at: Place;
  readonly #options: TransferOptions;

  constructor(at: Place, options: TransferOptions) {
    this.#at = at;
    this.#options = options;
  }

  get isEmpty(): boolean {
    const { signing, belongings = [] } = this.#options;
    return signing === undefined && belongings.length === 0;
  }

  async put({ descriptor }: ManifestDocument): Promise<void> {
    const { signing, belongings = [], reporter } = this.#options;
    const { target, names } = this.#at;
    const manifests =
      belongings.length === 0
        ? []
        : await reporter.stage(`Attach to ${target.shown}`, () => this.#attach(belongings));
    for (const manifest of manifests) {
      // Nobody pulls these by a tag: they are signed as what the repository holds.
      const signed = signing && (await this.#sign(manifest, [], { signer: signing.signer }));
      this.attached.push({ manifest, signed });
    }
    if (signing !== undefined) this.signed = await this.#sign(descriptor, names, signing);
  }

  async #attach(belongings: readonly Belonging[]): Promise<readonly Descriptor[]> {
    const { target, scratch } = this.#at;
    const { signal } = this.#options;
    const attached = new Map<string, Descriptor>();
    // One after the other: registries without the referrers API keep one list of them.
    for (const { subject, artifact } of belongings) {
      const found = await attachArtifact(target, subject, artifact, { scratch, signal });
      attached.set(found.digest, found);
    }
    return [...attached.values()];
  }

  async #sign({ digest }: Descriptor, tags: readonly string[], signing: Signing): Promise<SignedImage> {
    const { target, place, scratch } = this.#at;
    const { registries, reporter, signal } = this.#options;
    await using source = registries.source(place, { mirrors: false });
    const identity = { repository: `${place.registry}/${place.repository}`, tags };
    return await signImage({
      ...signing,
      source,
      target,
      identity,
      reporter,
      signal,
      reference: digest,
      scratch,
    });
  }
}

/** Before anything is sent. */
async function requireNoLockOut(
  { from, to, registries, signal }: TransferOptions,
  { signer, allowLockOut }: Signing,
): Promise<void> {
  if (allowLockOut === true) return;
  await using source = await openSource(from, registries);
  const { documents } = await readImageGraph(source, wantedOf(from), { signal });
  for (const { location } of to) {
    if (location.kind !== 'registry') continue;
    const { registry, repository } = location.reference;
    requireAcceptedSigner(documents, `${registry}/${repository}`, signer);
  }
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

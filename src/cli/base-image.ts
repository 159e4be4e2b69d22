/** The image that a declaration builds on: found, pinned, and what it is. */
import { dirname, resolve } from 'node:path';

import { type Digest, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { openReader, type ImageReader } from '../inspect/image-reader.ts';
import { BaseFacts, readBase } from '../inspect/read-base.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { type ImageLocation, openSource, parseLocation, wantedOf } from '../publish/location.ts';
import { StoredSource } from '../publish/stored-source.ts';
import type { Reporter } from '../report/events.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import { type Store, writeFileAtomically } from '../store/store.ts';

export interface PinnedBase {
  readonly reference: string;
  /** Of the manifest. */
  readonly digest: Digest;
  readonly facts: BaseFacts;
}

export interface BaseImageOptions {
  readonly cwd: string;
  readonly store: Store;
  readonly registries: () => Promise<RegistryAccess>;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** Raised when the recorded form or the way of reading changes. */
const RECORDS = 'bases-3';

/**
 * @param pinned the digest to stay with
 * @throws IngotError NOT_FOUND, IMAGE_UNREADABLE, ARCHITECTURE_FOREIGN, all with their place, and what registries throw
 */
export async function pinBase(
  { image, sources, file }: ParsedSpec,
  pinned: Digest | undefined,
  options: BaseImageOptions,
): Promise<PinnedBase> {
  const reference = image.base.image ?? '';
  const location = sources.at(['base', 'image']);
  try {
    const found = await findBase(reference, file, pinned, options);
    const { architecture } = found.facts;
    if (architecture === image.architecture) return found;
    throw new IngotError(
      'ARCHITECTURE_FOREIGN',
      `${reference} is for ${architecture} instead of ${image.architecture}`,
      {
        hint: 'name a base for this architecture, or declare arch',
      },
    );
  } catch (error) {
    if (!(error instanceof IngotError) || error.location !== undefined) throw error;
    const { code, message, hint, cause } = error;
    throw new IngotError(code, message, { location, cause, ...(hint !== undefined && { hint }) });
  }
}

async function findBase(
  reference: string,
  file: string,
  pinned: Digest | undefined,
  options: BaseImageOptions,
): Promise<PinnedBase> {
  const { store, reporter, signal } = options;
  if (pinned !== undefined) {
    const facts = await recalled(store, pinned);
    if (facts !== undefined) return { reference, digest: pinned, facts };
  }
  return reporter.stage(`Read base ${reference}`, async (stage) => {
    const location = locateBase(reference, file, options.cwd);
    await using source = await openBase(location, options);
    const wanted = pinned ?? wantedOf(location);
    const reader = await openReader(source, wanted, { shown: reference, isLocal: false, signal });
    const { digest } = reader;
    const known = await recalled(store, digest);
    const facts = known ?? (await readInto(store, reader, signal));
    stage.detail(`${facts.id} ${facts.release}, ${facts.layers.length} layers`);
    return { reference, digest, facts };
  });
}

async function readInto(store: Store, reader: ImageReader, signal?: AbortSignal): Promise<BaseFacts> {
  const { facts, blobs } = await readBase(reader, signal);
  for (const [sha256, content] of blobs) await writeFileAtomically(store.blobPath(sha256), content);
  await store.writeRecord(RECORDS, hexOf(reader.digest), facts);
  return facts;
}

async function recalled(store: Store, digest: Digest): Promise<BaseFacts | undefined> {
  const facts = BaseFacts.safeParse(await store.readRecord(RECORDS, hexOf(digest))).data;
  for (const { sha256 } of facts?.rpm?.database ?? []) {
    if ((await store.blobSize(sha256)) === undefined) return undefined;
  }
  return facts;
}

/** Layouts are looked for from the folder of the declaration. */
function locateBase(reference: string, file: string, cwd: string): ImageLocation {
  return parseLocation(reference, dirname(resolve(cwd, file)));
}

async function openBase(
  location: ImageLocation,
  { store, registries }: Pick<BaseImageOptions, 'store' | 'registries'>,
): Promise<ImageSource> {
  return new StoredSource(await openSource(location, await registries()), store);
}

/** For a build: where the layers that the lock names come from. */
export function baseSource(
  { file }: Pick<ParsedSpec, 'file'>,
  options: BaseImageOptions,
): (reference: string) => Promise<ImageSource> {
  return (reference) => openBase(locateBase(reference, file, options.cwd), options);
}

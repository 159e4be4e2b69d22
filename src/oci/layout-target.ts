/**
 * Images into an OCI image layout. Nothing is written before all is at hand as files: blobs are linked and the index
 * replaced in one go at the end, so a transfer that is cut short leaves the layout as it was.
 */
import { randomUUID } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { layoutBlobPath } from './blob.ts';
import type {
  BlobContent,
  ImageTarget,
  ManifestDocument,
  PutBlobOptions,
  TransferOptions,
} from './image-transfer.ts';
import {
  addToLayout,
  type LayoutBlob,
  type LayoutEntry,
  requireLayoutName,
  requireLayoutPlace,
} from './layout-write.ts';
import { describeReferrer, readDocument } from './image-graph.ts';
import type { Descriptor } from './schema.ts';

export class LayoutTarget implements ImageTarget {
  readonly shown: string;
  readonly parallel = 4;
  readonly #directory: string;
  /** A folder of the caller's for documents on their way. */
  readonly #scratch: string;
  readonly #blobs = new Map<Digest, LayoutBlob>();
  readonly #entries: LayoutEntry[] = [];

  private constructor(directory: string, scratch: string) {
    this.#directory = directory;
    this.#scratch = scratch;
    this.shown = `oci:${directory}`;
  }

  /** @throws IngotError USAGE when `directory` is something else than a layout, or cannot be written */
  static async open(directory: string, scratch: string): Promise<LayoutTarget> {
    await requireLayoutPlace(directory);
    return new LayoutTarget(directory, scratch);
  }

  async hasBlob(descriptor: Descriptor): Promise<boolean> {
    const path = layoutBlobPath(this.#directory, descriptor.digest);
    const status = await stat(path).catch(() => undefined);
    if (status?.isFile() !== true || status.size !== descriptor.size) return false;
    // Another writer may remove it before we finish: then it is missed there, and not afterwards.
    this.#blobs.set(descriptor.digest, { descriptor, source: path });
    return true;
  }

  hasManifest(descriptor: Descriptor): Promise<boolean> {
    return this.hasBlob(descriptor);
  }

  mountBlob(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async putBlob(
    descriptor: Descriptor,
    { file }: BlobContent,
    { onProgress }: PutBlobOptions = {},
  ): Promise<void> {
    if (file === undefined) throw new TypeError('a layout takes blobs from files');
    this.#blobs.set(descriptor.digest, { descriptor, source: await file() });
    onProgress?.(descriptor.size);
  }

  async putManifest(document: ManifestDocument, names: readonly string[]): Promise<void> {
    const { descriptor, bytes } = document;
    for (const name of names) requireLayoutName(name);
    const source = join(this.#scratch, `${hexOf(descriptor.digest)}.${randomUUID()}`);
    await writeFile(source, bytes, { flush: true });
    this.#blobs.set(descriptor.digest, { descriptor, source });
    for (const name of names) this.#entries.push({ descriptor, name });
    // Found by those who look for what refers to the subject.
    const refers = readDocument(document, this.shown).subject !== undefined;
    if (names.length === 0 && refers)
      this.#entries.push({ descriptor: describeReferrer(document), name: undefined });
  }

  async finish({ signal }: TransferOptions = {}): Promise<void> {
    if (signal?.aborted === true)
      throw new IngotError('INTERRUPTED', `interrupted while writing ${this.shown}`);
    await addToLayout(this.#directory, [...this.#blobs.values()], this.#entries, { signal });
    this.#blobs.clear();
    this.#entries.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { source } of this.#blobs.values()) {
      if (source.startsWith(`${this.#scratch}/`)) await rm(source, { force: true });
    }
  }
}

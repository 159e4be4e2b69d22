/**
 * Images into an `oci-archive`: a tar of an OCI image layout. Blobs are appended as they come to a temporary file
 * beside the archive, which takes its place when it is whole.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { canonicalJson, type Digest, hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { requireWritableFolder } from '../proc/writable-place.ts';
import { describeReferrer, readDocument } from './image-graph.ts';
import type {
  BlobContent,
  ImageTarget,
  ManifestDocument,
  PutBlobOptions,
  TransferOptions,
} from './image-transfer.ts';
import { requireLayoutName } from './layout-write.ts';
import { type Descriptor, type Index, MEDIA_TYPES, REF_NAME } from './schema.ts';

const TAR_BLOCK = 512;

export class ArchiveTarget implements ImageTarget {
  readonly shown: string;
  /** Blobs stand one after the other; and so the same image gives the same archive. */
  readonly parallel = 1;
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  readonly #present = new Set<Digest>();
  readonly #manifests: Descriptor[] = [];
  #end = 0;

  private constructor(path: string, temporary: string, file: FileHandle) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.shown = `oci-archive:${path}`;
  }

  /** @throws IngotError USAGE when there is something else of that name or the place cannot be written */
  static async open(path: string): Promise<ArchiveTarget> {
    await requireWritableFolder(dirname(path));
    const existing = await open(path, 'r').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    const isFile = (await existing?.stat())?.isFile() ?? true;
    await existing?.close();
    if (!isFile) {
      throw new IngotError('USAGE', `${path} exists and is no file`, { hint: 'give another name' });
    }
    await mkdir(dirname(path), { recursive: true });
    const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`);
    return new ArchiveTarget(path, temporary, await open(temporary, 'wx'));
  }

  hasBlob({ digest }: Descriptor): Promise<boolean> {
    return Promise.resolve(this.#present.has(digest));
  }

  hasManifest(descriptor: Descriptor): Promise<boolean> {
    return this.hasBlob(descriptor);
  }

  mountBlob(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async putBlob(descriptor: Descriptor, content: BlobContent, options: PutBlobOptions = {}): Promise<void> {
    await this.#append(`blobs/sha256/${hexOf(descriptor.digest)}`, descriptor.size, content.open(0), options);
    this.#present.add(descriptor.digest);
  }

  async putManifest(document: ManifestDocument, names: readonly string[]): Promise<void> {
    const { descriptor, bytes } = document;
    for (const name of names) requireLayoutName(name);
    if (!this.#present.has(descriptor.digest)) {
      await this.#append(`blobs/sha256/${hexOf(descriptor.digest)}`, bytes.length, [bytes]);
      this.#present.add(descriptor.digest);
    }
    for (const name of names) {
      this.#manifests.push({ ...descriptor, annotations: { [REF_NAME]: name } });
    }
    const refers = readDocument(document, this.shown).subject !== undefined;
    if (names.length === 0 && refers) this.#manifests.push(describeReferrer(document));
  }

  async finish({ signal }: TransferOptions = {}): Promise<void> {
    if (signal?.aborted === true)
      throw new IngotError('INTERRUPTED', `interrupted while writing ${this.shown}`);
    const index: Index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: this.#manifests };
    const marker = Buffer.from('{"imageLayoutVersion":"1.0.0"}\n');
    const text = Buffer.from(`${canonicalJson(index)}\n`);
    await this.#append('oci-layout', marker.length, [marker]);
    await this.#append('index.json', text.length, [text]);
    await this.#file.truncate(this.#end);
    await this.#write(Buffer.alloc(2 * TAR_BLOCK), this.#end);
    await this.#file.sync();
    await rename(this.#temporary, this.#path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
    await rm(this.#temporary, { force: true }); // gone when it was renamed
  }

  async #append(
    name: string,
    size: number,
    chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
    { onProgress, signal }: PutBlobOptions = {},
  ): Promise<void> {
    let at = this.#end;
    const header = tarHeader(name, size);
    await this.#write(header, at);
    at += header.length;
    let written = 0;
    for await (const chunk of chunks) {
      if (signal?.aborted === true)
        throw new IngotError('INTERRUPTED', `interrupted while writing ${this.shown}`);
      await this.#write(chunk, at + written);
      written += chunk.length;
      onProgress?.(written);
    }
    if (written !== size) throw new TypeError(`${name} has ${written} bytes instead of ${size}`);
    const padding = (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
    if (padding > 0) await this.#write(Buffer.alloc(padding), at + written);
    // What failed before this line is written over by the next.
    this.#end = at + size + padding;
  }

  async #write(chunk: Buffer, position: number): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.#file.write(chunk, done, chunk.length - done, position + done);
      done += bytesWritten;
    }
  }
}

/** A plain file of root's, readable by all. Names are short; a size beyond octal is written in base 256, as GNU has it. */
function tarHeader(name: string, size: number): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number, offset: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  };
  block.write(name, 0, 'latin1');
  octal(0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  if (size < 8 ** 11) octal(size, 124, 12);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(0, 136, 12);
  block.write('0', 156, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

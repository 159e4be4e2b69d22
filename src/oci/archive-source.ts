/** Images out of an `oci-archive`: a tar of an OCI image layout, read where its blobs stand and never unpacked. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';

import { type Digest, digestOf, hexOf, isDigest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, parseJson } from './blob.ts';
import { describeReferrer, MANIFEST_MEDIA_TYPES, readDocument } from './image-graph.ts';
import type { BlobOptions, ImageSource, ManifestDocument, Resumption } from './image-transfer.ts';
import { chooseByName } from './layout.ts';
import { type Descriptor, Index, LayoutFile } from './schema.ts';
import { TarParser } from './tar-parser.ts';

const BLOCK = 512;

interface Member {
  readonly offset: number;
  readonly size: number;
}

export class ArchiveSource implements ImageSource {
  readonly shown: string;
  readonly #file: FileHandle;
  readonly #members: ReadonlyMap<string, Member>;
  readonly #index: Index;

  private constructor(shown: string, file: FileHandle, members: ReadonlyMap<string, Member>, index: Index) {
    this.shown = shown;
    this.#file = file;
    this.#members = members;
    this.#index = index;
  }

  /** @throws IngotError NOT_FOUND, IMAGE_INVALID when it is no such archive */
  static async open(path: string): Promise<ArchiveSource> {
    const shown = `oci-archive:${path}`;
    const file = await open(path, 'r').catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new IngotError('NOT_FOUND', `there is no ${path}`, { cause: error });
    });
    try {
      const members = await listMembers(file).catch((error: unknown) => {
        if (!(error instanceof Error) || errnoOf(error) !== undefined) throw error;
        throw new IngotError('IMAGE_INVALID', `${path} cannot be read: ${error.message}`, {
          hint: 'give a plain tar of an OCI layout, such as `skopeo copy … oci-archive:FILE` writes',
          cause: error,
        });
      });
      const marker = await readMember(file, members.get('oci-layout'), shown, 'oci-layout');
      parseJson(marker.toString(), LayoutFile, `${shown} oci-layout`, 'layout marker');
      const index = await readMember(file, members.get('index.json'), shown, 'index.json');
      const parsed = parseJson(index.toString(), Index, `${shown} index.json`, 'image index');
      return new ArchiveSource(shown, file, members, parsed);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async manifest(reference: string | Descriptor | undefined): Promise<ManifestDocument> {
    const { mediaType, digest, size } = typeof reference === 'object' ? reference : this.#find(reference);
    const bytes = await readMember(this.#file, this.#members.get(blobName(digest)), this.shown, digest);
    if (bytes.length !== size || digestOf(bytes) !== digest) throw this.#mismatch(digest);
    return { descriptor: { mediaType, digest, size }, bytes };
  }

  async *blob(descriptor: Descriptor, { resume }: BlobOptions = {}): AsyncGenerator<Buffer> {
    const member = this.#members.get(blobName(descriptor.digest));
    if (member === undefined) throw new IngotError('NOT_FOUND', `${this.shown} lacks ${descriptor.digest}`);
    if (member.size !== descriptor.size) throw this.#mismatch(descriptor.digest);
    const { offset, hash }: Resumption = resume ?? { offset: 0, hash: createHash('sha256') };
    if (offset < member.size) {
      const stream = this.#file.createReadStream({
        start: member.offset + offset,
        end: member.offset + member.size - 1,
        autoClose: false,
        highWaterMark: 1024 * 1024,
      });
      for await (const chunk of stream) {
        hash.update(chunk as Buffer);
        yield chunk as Buffer;
      }
    }
    if (`sha256:${await hash.digest('hex')}` !== descriptor.digest) throw this.#mismatch(descriptor.digest);
  }

  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    const found: Descriptor[] = [];
    for (const entry of this.#index.manifests) {
      if (!MANIFEST_MEDIA_TYPES.has(entry.mediaType)) continue;
      const document = await this.manifest(entry);
      if (readDocument(document, this.shown).subject?.digest === subject)
        found.push(describeReferrer(document));
    }
    return found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }

  #find(reference: string | undefined): Descriptor {
    if (reference === undefined || !isDigest(reference)) {
      return chooseByName(this.#index, this.shown, reference);
    }
    const found = this.#index.manifests.find(({ digest }) => digest === reference);
    if (found !== undefined) return found;
    throw new IngotError('NOT_FOUND', `${this.shown} has no image ${reference}`);
  }

  #mismatch(digest: Digest): IngotError {
    return new IngotError(
      'DIGEST_MISMATCH',
      `${this.shown}: ${digest} has other content than its name says`,
      {
        hint: 'the archive is damaged: make it again',
      },
    );
  }
}

const blobName = (digest: Digest): string => `blobs/sha256/${hexOf(digest)}`;

/** Where every plain file stands. As tar(1) has it, the last of a name counts. */
async function listMembers(file: FileHandle): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  const { size: total } = await file.stat();
  const block = Buffer.alloc(BLOCK);
  let at = 0;
  const parser = new TarParser(({ path, type, size }) => {
    if (type === 'file') members.set(path, { offset: at + BLOCK, size });
    return undefined;
  });
  while (at < total) {
    await readExactly(file, block, at);
    parser.write(block);
    at += BLOCK + parser.skipContent();
  }
  if (at > total) throw new Error('the archive ends in the middle of an entry');
  parser.end();
  return members;
}

async function readMember(
  file: FileHandle,
  member: Member | undefined,
  shown: string,
  name: string,
): Promise<Buffer> {
  if (member === undefined) throw new IngotError('NOT_FOUND', `${shown} has no ${name}`);
  if (member.size > MAX_JSON_BYTES) {
    throw new IngotError('IMAGE_INVALID', `${shown}: ${name} has ${member.size} bytes`);
  }
  const bytes = Buffer.alloc(member.size);
  await readExactly(file, bytes, member.offset);
  return bytes;
}

async function readExactly(file: FileHandle, into: Buffer, position: number): Promise<void> {
  for (let filled = 0; filled < into.length;) {
    const { bytesRead } = await file.read(into, filled, into.length - filled, position + filled);
    if (bytesRead === 0) throw new Error('the archive ends in the middle of an entry');
    filled += bytesRead;
  }
}

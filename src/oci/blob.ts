/**
 * Reading blobs that somebody else may have written: by digest alone, never through a link, sizes bounded and
 * checked before the bytes are, nothing parsed before its digest is known to be right.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type * as z from 'zod';

import { type Digest, digestOf, hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import type { BlobHash, Resumption } from './image-transfer.ts';
import type { Descriptor } from './schema.ts';

/** What registries accept at most for a manifest; configurations and indexes are held to the same. */
export const MAX_JSON_BYTES = 4 * 1024 * 1024;

/** Measured, with four transfers at a time over TLS: a megabyte takes a quarter more processor time for a push. */
const CHUNK_BYTES = 256 * 1024;

/** Where a blob is in a layout. */
export function layoutBlobPath(layout: string, digest: Digest): string {
  return join(layout, 'blobs', 'sha256', hexOf(digest));
}

/** @throws IngotError NOT_FOUND, or DIGEST_MISMATCH when it is not a plain file of the descriptor's size. */
export async function openBlob(path: string, descriptor: Descriptor): Promise<FileHandle> {
  let file: FileHandle;
  try {
    // NONBLOCK: opening a FIFO would wait for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw mismatch(path, 'is a symbolic link');
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new IngotError('NOT_FOUND', `the blob ${path} is missing`, {
      hint: 'copy or build the image again',
    });
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw mismatch(path, 'is not a file');
    if (stats.size !== descriptor.size) {
      throw mismatch(path, `has ${stats.size} bytes instead of ${descriptor.size}`);
    }
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads and parses a small JSON blob after checking its size and digest. */
export async function readJsonBlob<Schema extends z.ZodType>(
  path: string,
  descriptor: Descriptor,
  schema: Schema,
  what: string,
): Promise<z.infer<Schema>> {
  return parseJson((await readSmallBlob(path, descriptor, what)).toString(), schema, path, what);
}

/** The bytes of a document, after checking its size and digest. */
export async function readSmallBlob(path: string, descriptor: Descriptor, what: string): Promise<Buffer> {
  if (descriptor.size > MAX_JSON_BYTES) {
    throw mismatch(
      path,
      `is declared with ${descriptor.size} bytes; a ${what} has at most ${MAX_JSON_BYTES}`,
    );
  }
  const file = await openBlob(path, descriptor);
  try {
    const bytes = Buffer.alloc(descriptor.size);
    for (let filled = 0; filled < bytes.length;) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, filled);
      if (bytesRead === 0) throw mismatch(path, 'ends early');
      filled += bytesRead;
    }
    if (digestOf(bytes) !== descriptor.digest) throw mismatch(path, 'has other content than its name says');
    return bytes;
  } finally {
    await file.close();
  }
}

/** @throws IngotError DIGEST_MISMATCH when the text is not such a document. */
export function parseJson<Schema extends z.ZodType>(
  text: string,
  schema: Schema,
  path: string,
  what: string,
): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new IngotError('STORE_CORRUPT', `${path} is not the JSON of a ${what}`, {
      hint: 'copy or build the image again',
      cause: error,
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new IngotError('STORE_CORRUPT', `${path} is no valid ${what}: ${issues.slice(0, 5).join('; ')}`, {
    hint: 'copy or build the image again',
  });
}

/**
 * Hashes a blob as it streams by; the last step throws when it is not what the descriptor says. `resume.hash` has
 * seen the bytes before `resume.offset`.
 */
export async function* verifiedChunks(
  path: string,
  descriptor: Descriptor,
  resume: Resumption = { offset: 0, hash: createHash('sha256') },
): AsyncGenerator<Buffer> {
  const file = await openBlob(path, descriptor);
  try {
    const { offset: start, hash } = resume;
    let bytes = start;
    for await (const chunk of file.createReadStream({
      start,
      autoClose: false,
      highWaterMark: CHUNK_BYTES,
    })) {
      const buffer = chunk as Buffer;
      hash.update(buffer);
      bytes += buffer.length;
      yield buffer;
    }
    if (bytes !== descriptor.size || `sha256:${await hash.digest('hex')}` !== descriptor.digest) {
      throw mismatch(path, 'has other content than its name says');
    }
  } finally {
    await file.close();
  }
}

/**
 * The same without a buffer for each chunk: one is the caller's until it asks for the next, which is read meanwhile.
 * Without a hash, the content is what the caller knows it to be.
 */
export async function* lentChunks(
  path: string,
  descriptor: Descriptor,
  { offset, hash }: { readonly offset: number; readonly hash: BlobHash | undefined } = {
    offset: 0,
    hash: createHash('sha256'),
  },
): AsyncGenerator<Buffer> {
  const file = await openBlob(path, descriptor);
  const readInto = (buffer: Buffer, at: number): Promise<Buffer> =>
    file.read(buffer, 0, buffer.length, at).then(({ bytesRead }) => buffer.subarray(0, bytesRead));
  const length = Math.min(CHUNK_BYTES, Math.max(1, descriptor.size - offset));
  let [used, free] = [Buffer.allocUnsafeSlow(length), Buffer.allocUnsafeSlow(length)];
  let reading: Promise<Buffer> | undefined = readInto(used, offset);
  try {
    let at = offset;
    while (at < descriptor.size) {
      const chunk = await reading;
      if (chunk.length === 0) break;
      at += chunk.length;
      [used, free] = [free, used];
      reading = at < descriptor.size ? readInto(used, at) : undefined;
      hash?.update(chunk);
      yield chunk;
      if (reading === undefined) break;
    }
    const isRight = hash === undefined || `sha256:${await hash.digest('hex')}` === descriptor.digest;
    if (at !== descriptor.size || !isRight) {
      throw mismatch(path, 'has other content than its name says');
    }
  } finally {
    await reading?.catch(() => undefined);
    await file.close();
  }
}

function mismatch(path: string, what: string): IngotError {
  return new IngotError('DIGEST_MISMATCH', `the blob ${path} ${what}`, {
    hint: 'the image is damaged: copy or build it again',
  });
}

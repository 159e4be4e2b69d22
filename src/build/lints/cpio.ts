/**
 * Reads a Linux initramfs image (Documentation/driver-api/early-userspace/buffer-format.rst): any number of newc
 * archives, plain or compressed, zero bytes between them. A plain one with processor microcode often comes first.
 * Memory stays bounded: contents that nobody asked for are skipped as they stream by.
 */
import { createReadStream } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

import { decompressZstd } from '../../oci/zstd-frames.ts';

export interface CpioEntry {
  /** Without a leading slash or `./`. */
  readonly path: string;
  readonly mode: number;
  readonly size: number;
  /** Up to `MAX_CONTENTS` bytes, of regular files that `wanted` accepts. */
  readonly contents: Buffer | undefined;
}

const HEADER = 110;
const MAX_NAME = 4096;
const MAX_CONTENTS = 1024 * 1024;

/** @throws SyntaxError for what is no initramfs, or a compression that is not known here. */
export async function* readInitramfs(
  path: string,
  wanted: (path: string) => boolean,
): AsyncGenerator<CpioEntry> {
  const file = createReadStream(path, { highWaterMark: 256 * 1024 });
  try {
    yield* readSegments(new ByteReader(file), wanted, false);
  } finally {
    file.destroy();
  }
}

async function* readSegments(
  bytes: ByteReader,
  wanted: (path: string) => boolean,
  isInner: boolean,
): AsyncGenerator<CpioEntry> {
  for (;;) {
    await bytes.skipZeros();
    const magic = await bytes.peek(6);
    if (magic.length === 0) return;
    if (/^07070[12]$/.test(magic.toString('latin1'))) {
      yield* readArchive(bytes, wanted);
      continue;
    }
    const inner = isInner ? undefined : decompressing(magic, bytes);
    if (inner === undefined) {
      throw new SyntaxError(`unknown contents, beginning with ${magic.toString('hex')}`);
    }
    yield* readSegments(new ByteReader(inner), wanted, true);
    return;
  }
}

/** The plain bytes of what is left, or undefined when its compression is not known here. */
function decompressing(magic: Buffer, bytes: ByteReader): AsyncIterable<unknown> | undefined {
  if (magic.subarray(0, 4).equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))) return decompressZstd(bytes.rest());
  // Errors reach the reader through the destroyed decompressor.
  if (magic.subarray(0, 2).equals(Buffer.from([0x1f, 0x8b]))) {
    return pipeline(Readable.from(bytes.rest()), createGunzip(), () => undefined);
  }
  return undefined;
}

async function* readArchive(bytes: ByteReader, wanted: (path: string) => boolean): AsyncGenerator<CpioEntry> {
  for (;;) {
    const header = (await bytes.take(HEADER)).toString('latin1');
    if (!/^07070[12][0-9A-Fa-f]{104}$/.test(header)) throw new SyntaxError('a damaged archive header');
    const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const mode = field(1);
    const size = field(6);
    const nameLength = field(11);
    if (nameLength === 0 || nameLength > MAX_NAME) throw new SyntaxError(`a name of ${nameLength} bytes`);
    const name = (await bytes.take(nameLength)).subarray(0, -1).toString();
    await bytes.skip(padding(HEADER + nameLength));
    if (name === 'TRAILER!!!') return;
    const path = name.replace(/^(?:\.?\/)+/, '');
    const isWanted = (mode & 0o170000) === 0o100000 && size <= MAX_CONTENTS && wanted(path);
    const contents = isWanted ? await bytes.take(size) : undefined;
    if (!isWanted) await bytes.skip(size);
    await bytes.skip(padding(size));
    yield { path, mode, size, contents };
  }
}

/** newc aligns to four bytes. */
function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}

/** Pulls exact numbers of bytes from a stream of chunks. */
class ByteReader {
  readonly #source: AsyncIterator<Buffer>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<unknown>) {
    this.#source = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** Up to `length` bytes, fewer only at the end, without taking them. */
  async peek(length: number): Promise<Buffer> {
    while (this.#buffer.length < length && (await this.#pull()));
    return this.#buffer.subarray(0, length);
  }

  async take(length: number): Promise<Buffer> {
    const bytes = await this.peek(length);
    if (bytes.length < length) throw new SyntaxError('it ends in the middle of an archive');
    this.#buffer = this.#buffer.subarray(length);
    return bytes;
  }

  async skip(length: number): Promise<void> {
    let left = length;
    while (left > this.#buffer.length) {
      left -= this.#buffer.length;
      this.#buffer = Buffer.alloc(0);
      if (!(await this.#pull())) throw new SyntaxError('it ends in the middle of an archive');
    }
    this.#buffer = this.#buffer.subarray(left);
  }

  async skipZeros(): Promise<void> {
    for (;;) {
      const first = this.#buffer.findIndex((byte) => byte !== 0);
      if (first !== -1) {
        this.#buffer = this.#buffer.subarray(first);
        return;
      }
      this.#buffer = Buffer.alloc(0);
      if (!(await this.#pull())) return;
    }
  }

  /** All that is left. */
  async *rest(): AsyncGenerator<Buffer> {
    if (this.#buffer.length > 0) yield this.#buffer;
    this.#buffer = Buffer.alloc(0);
    while (await this.#pull()) {
      yield this.#buffer;
      this.#buffer = Buffer.alloc(0);
    }
  }

  async #pull(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    this.#buffer = this.#buffer.length === 0 ? next.value : Buffer.concat([this.#buffer, next.value]);
    return true;
  }
}

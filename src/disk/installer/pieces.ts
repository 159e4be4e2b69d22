/** A disk as pieces of one size, of which most are zero. */
import type { FileHandle } from 'node:fs/promises';

import { IngotError } from '../../errors.ts';
import { PIECE_BYTES } from './medium.ts';

const ZERO = Buffer.alloc(PIECE_BYTES);

export function isZero(piece: Uint8Array): boolean {
  return Buffer.compare(piece, piece.length === PIECE_BYTES ? ZERO : ZERO.subarray(0, piece.length)) === 0;
}

/** Reads one piece into `buffer`, which is as long. @throws IngotError DISK_FAILED at the end of the disk */
export async function readPiece(disk: FileHandle, number: number, buffer: Buffer): Promise<void> {
  for (let done = 0; done < buffer.length;) {
    const at = number * PIECE_BYTES + done;
    const { bytesRead } = await disk.read(buffer, done, buffer.length - done, at);
    if (bytesRead === 0) throw new IngotError('DISK_FAILED', `the disk ends at byte ${at}`);
    done += bytesRead;
  }
}

/** Writes one piece. */
export async function writePiece(disk: FileHandle, number: number, piece: Buffer): Promise<void> {
  for (let done = 0; done < piece.length;) {
    const { bytesWritten } = await disk.write(piece, done, piece.length - done, number * PIECE_BYTES + done);
    done += bytesWritten;
  }
}

/** Cuts a stream into whole pieces. @throws IngotError DISK_FAILED when it ends within one */
export async function* inPieces(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let piece = Buffer.alloc(PIECE_BYTES);
  let filled = 0;
  for await (const chunk of stream) {
    for (let taken = 0; taken < chunk.length;) {
      const copied = chunk.copy(piece, filled, taken);
      taken += copied;
      filled += copied;
      if (filled < PIECE_BYTES) continue;
      yield piece;
      piece = Buffer.alloc(PIECE_BYTES);
      filled = 0;
    }
  }
  if (filled > 0)
    throw new IngotError('DISK_FAILED', 'the medium is damaged: what it carries ends too early');
}

/** Where `words` stand in a stream of pieces that are given in order, also across their borders. */
export class WordFinder<Word extends string> {
  readonly #words: readonly (readonly [Word, Buffer])[];
  #tail = Buffer.alloc(0);
  #tailAt = 0;
  readonly found: { readonly offset: number; readonly of: Word }[] = [];

  constructor(words: Readonly<Record<Word, string>>) {
    this.#words = Object.entries<string>(words).map(([of, text]) => [of as Word, Buffer.from(text)]);
  }

  /** @param offset of `bytes`, where nothing but zeros was left out before */
  see(offset: number, bytes: Buffer): void {
    const joins = this.#tailAt + this.#tail.length === offset;
    const text = joins ? Buffer.concat([this.#tail, bytes]) : bytes;
    const start = joins ? this.#tailAt : offset;
    for (const [of, word] of this.#words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
        // One that lies in the tail whole was found before.
        if (joins && at + word.length <= this.#tail.length) continue;
        this.found.push({ offset: start + at, of });
      }
    }
    const kept = Math.min(text.length, Math.max(...this.#words.map(([, word]) => word.length)) - 1);
    this.#tail = Buffer.from(text.subarray(text.length - kept));
    this.#tailAt = start + text.length - kept;
  }
}

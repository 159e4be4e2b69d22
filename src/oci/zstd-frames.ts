/**
 * Decompresses zstd data of any number of frames (RFC 8878, section 3.1).
 *
 * Node's own stream ends without an error after the first frame that leaves its output buffer partly empty, and
 * forgets the rest. Layers come in many frames: ours, zstd:chunked ones, pzstd's. So the frames are told apart
 * here, by their block headers, and each gets a decompressor of its own.
 */
import { pipeline, Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';

/** @throws SyntaxError when the data is no zstd or ends early; Node's ZSTD errors for damaged frames. */
export async function* decompressZstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const pieces = scanFrames(source);
  try {
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
      const decompressor = createZstdDecompress({ chunkSize: 256 * 1024 });
      // Errors reach the reader through the destroyed decompressor.
      const plain = pipeline(Readable.from(restOfFrame(next.value, pieces)), decompressor, () => undefined);
      for await (const chunk of plain) yield chunk as Buffer;
    }
  } finally {
    await pieces.return(undefined);
  }
}

interface Piece {
  readonly bytes: Buffer;
  readonly endsFrame: boolean;
}

async function* restOfFrame(first: Piece, pieces: AsyncGenerator<Piece>): AsyncGenerator<Buffer> {
  let piece = first;
  for (;;) {
    yield piece.bytes;
    if (piece.endsFrame) return;
    const next = await pieces.next();
    if (next.done === true) throw new SyntaxError('the zstd data ends in the middle of a frame');
    piece = next.value;
  }
}

/** Cuts the data where frames end, and otherwise as it comes. */
async function* scanFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  const scanner = new FrameScanner();
  for await (const chunk of source) {
    for (let rest = chunk; rest.length > 0;) {
      const length = scanner.scan(rest);
      yield { bytes: rest.subarray(0, length), endsFrame: scanner.isBetweenFrames };
      rest = rest.subarray(length);
    }
  }
  if (!scanner.isBetweenFrames) throw new SyntaxError('the zstd data ends in the middle of a frame');
}

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const CHECKSUM_BYTES = 4;

type Part = 'magic' | 'skippable-size' | 'descriptor' | 'header' | 'block' | 'body' | 'last-body' | 'end';

/** Follows the structure of frames without looking into blocks. */
class FrameScanner {
  #part: Part = 'magic';
  /** Bytes that the current part still wants. */
  #wanted = 4;
  /** The little-endian number that the current part's bytes have made so far, and how many they were. */
  #value = 0;
  #taken = 0;
  #hasChecksum = false;

  get isBetweenFrames(): boolean {
    return this.#part === 'magic' && this.#taken === 0;
  }

  /** Takes bytes up to the end of a frame; gives how many. */
  scan(bytes: Buffer): number {
    let offset = 0;
    while (offset < bytes.length) {
      if (
        this.#part === 'body' ||
        this.#part === 'last-body' ||
        this.#part === 'header' ||
        this.#part === 'end'
      ) {
        const skipped = Math.min(this.#wanted - this.#taken, bytes.length - offset);
        this.#taken += skipped;
        offset += skipped;
      } else {
        this.#value += (bytes[offset] ?? 0) * 2 ** (8 * this.#taken);
        this.#taken += 1;
        offset += 1;
      }
      while (this.#taken === this.#wanted) {
        this.#enterNext();
        if (this.isBetweenFrames) return offset;
      }
    }
    return offset;
  }

  #enterNext(): void {
    const value = this.#value;
    switch (this.#part) {
      case 'magic':
        if (value === MAGIC) this.#enter('descriptor', 1);
        else if (value >= SKIPPABLE_MAGIC && value <= SKIPPABLE_MAGIC + 15) this.#enter('skippable-size', 4);
        else throw new SyntaxError('not zstd data');
        return;
      case 'skippable-size':
        this.#enter('end', value);
        return;
      case 'descriptor':
        this.#hasChecksum = (value & 0x04) !== 0;
        this.#enter('header', headerBytesAfter(value));
        return;
      case 'header':
      case 'body':
        this.#enter('block', 3);
        return;
      case 'block': {
        // Bit 0: last block. Bits 1-2: type; a block of type 1 is one byte, repeated.
        const size = ((value >>> 1) & 3) === 1 ? 1 : value >>> 3;
        this.#enter((value & 1) === 1 ? 'last-body' : 'body', size);
        return;
      }
      case 'last-body':
        this.#enter('end', this.#hasChecksum ? CHECKSUM_BYTES : 0);
        return;
      case 'end':
        this.#enter('magic', 4);
    }
  }

  #enter(part: Part, wanted: number): void {
    this.#part = part;
    this.#wanted = wanted;
    this.#taken = 0;
    this.#value = 0;
  }
}

/** Window descriptor, dictionary ID and content size: RFC 8878, section 3.1.1.1. */
function headerBytesAfter(descriptor: number): number {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
}

/** What a file or a tree holds, as one hash. Synchronous, for a thread of its own. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';

const CHUNK_BYTES = 1024 * 1024;
/** Of what was just written, so much at a time stays in a core's cache between reading and hashing. */
const WRITTEN_BYTES = 256 * 1024;
/** How often progress is told. */
const TOLD_BYTES = 32 * 1024 * 1024;

type OnBytes = (bytes: number) => void;

/** One for all: with a new one for each small file, collecting them takes longer than hashing. */
const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);

/** SHA-256 of a plain file, in hex. Throws the system's error for what is none, or cannot be read. */
export function hashContents(path: string | Buffer, onBytes: OnBytes = () => undefined): string {
  const hash = createHash('sha256');
  readInto(hash, path, onBytes);
  return hash.digest('hex');
}

/**
 * SHA-256 over everything below `root` but extended attributes: names, kinds, modes, owners, times, contents, targets
 * and device numbers.
 */
export function hashTree(root: string, onBytes: OnBytes): string {
  const hash = createHash('sha256');
  const pending: Buffer[] = [Buffer.from(root)];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const name of readdirSync(folder, { encoding: 'buffer' }).sort((one, other) =>
      Buffer.compare(one, other),
    )) {
      const path = Buffer.concat([folder, Buffer.from('/'), name]);
      const stats = lstatSync(path, { bigint: true });
      const { mode, uid, gid, rdev, mtimeNs } = stats;
      const inside = path.subarray(Buffer.byteLength(root) + 1);
      const size = stats.isDirectory() ? 0n : stats.size;
      // Numbers before the names that they measure: no two trees make the same stream.
      hash.update(`${inside.length} ${mode} ${uid} ${gid} ${rdev} ${mtimeNs} ${size}\n`);
      hash.update(inside);
      if (stats.isDirectory()) pending.push(path);
      else if (stats.isSymbolicLink()) hash.update(readlinkSync(path, { encoding: 'buffer' }));
      else if (stats.isFile()) readInto(hash, path, onBytes);
    }
  }
  return hash.digest('hex');
}

/** A plain file that another thread writes. Its bytes are hashed once, in their order. */
export class GrowingFile {
  readonly #file: number;
  readonly #hash = createHash('sha256');
  #at = 0;

  constructor(path: string) {
    this.#file = openPlainly(path);
  }

  /** Ends early where the file does. */
  hashUpTo(bytes: number): void {
    while (this.#at < bytes) {
      const length = Math.min(WRITTEN_BYTES, bytes - this.#at);
      const read = readSync(this.#file, chunk, 0, length, this.#at);
      if (read === 0) return;
      this.#hash.update(chunk.subarray(0, read));
      this.#at += read;
    }
  }

  /** The digest of what was hashed, in hex. Closes the file. */
  end(): string {
    closeSync(this.#file);
    return this.#hash.digest('hex');
  }
}

function openPlainly(path: string | Buffer): number {
  // NONBLOCK: opening a FIFO would wait for its writer.
  return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function readInto(hash: Hash, path: string | Buffer, onBytes: OnBytes): void {
  const file = openPlainly(path);
  try {
    let untold = 0;
    for (;;) {
      const read = readSync(file, chunk, 0, chunk.length, null);
      if (read === 0) break;
      hash.update(chunk.subarray(0, read));
      untold += read;
      if (untold >= TOLD_BYTES) {
        onBytes(untold);
        untold = 0;
      }
    }
    onBytes(untold);
  } finally {
    closeSync(file);
  }
}

/** Writes newc archives, as the kernel unpacks them (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface NewcEntry {
  /** Without a leading slash; folders before what is in them. */
  readonly path: string;
  readonly contents: Uint8Array | 'folder';
  /** Permission bits. Default: 0755 for folders, 0644 for files. */
  readonly mode?: number;
}

const FOLDER = 0o040000;
const FILE = 0o100000;

/** Everything belongs to root and is from 1970, so that the same entries are the same bytes. */
export function* renderNewc(entries: Iterable<NewcEntry>): Generator<Uint8Array> {
  let inode = 1;
  for (const { path, contents, mode } of entries) {
    const isFolder = contents === 'folder';
    const bytes = isFolder ? new Uint8Array() : contents;
    yield header(path, inode++, isFolder ? FOLDER | (mode ?? 0o755) : FILE | (mode ?? 0o644), bytes.length);
    yield bytes;
    yield padding(bytes.length);
  }
  yield header('TRAILER!!!', 0, 0, 0);
}

function header(path: string, inode: number, mode: number, size: number): Uint8Array {
  const name = Buffer.from(`${path}\0`);
  const links = (mode & FOLDER) === 0 ? 1 : 2;
  const fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([Buffer.from(text), name, padding(text.length + name.length)]);
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}

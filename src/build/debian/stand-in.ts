/**
 * The stand-in of a package: the same package with a mark in the place of each large file, and these files put aside.
 *
 * dpkg unpacks a stand-in as it would the package: its database, links, owners, modes and times come out the same, and
 * where it wrote a mark the file belongs. What takes dpkg long, which is one package after the other through one pipe
 * with a checksum that nobody asks for, is done for several packages at once and without it.
 *
 * Synchronous, for a thread of its own. Formats: deb(5), and tar as dpkg reads it (`lib/dpkg/tarfn.c`): GNU's long names,
 * no pax. What is otherwise is for dpkg to judge.
 */
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import type { GrowingJob } from '../archive/growing-archive-worker.ts';
import type { GrowingFile } from '../archive/growing-archive.ts';
import type { TarEntry } from '../archive/tar-header.ts';

/** Smaller files stay in the stand-in: taking one aside costs more than dpkg's copying it. */
export const ASIDE_BYTES = 64 * 1024;

const BLOCK = 512;
const PIPE_BYTES = 256 * 1024;
/** Who follows is woken for so many bytes, and reads them at once. */
const TOLD_BYTES = 1024 * 1024;
/** What stands before the files of a package, its control part above all. */
const MAX_BEFORE_DATA = 32 * 1024 * 1024;
const MAX_NAME = 64 * 1024;
const AR_MAGIC = '!<arch>\n';
const AR_HEADER = 60;

export interface StandInJob {
  readonly id: number;
  /** Named pipe that the files of the package come through, as a plain tar archive. */
  readonly pipe: string;
  /** The package. */
  readonly deb: string;
  /** Where its stand-in is to be. */
  readonly standIn: string;
  /** An empty folder for the files, which get numbers for names: nothing that the package says leads anywhere. */
  readonly folder: string;
  /** What all marks begin with: nothing that is in any package. */
  readonly secret: string;
  /** The archive that is made of the package meanwhile, if one is. */
  readonly archive?: GrowingJob | undefined;
}

/** A file that was put aside. */
export interface AsideFile {
  /** As the package has it. */
  readonly path: string;
  /** Where it is; its owner, mode and times are those of the mark. */
  readonly file: string;
  /** Contents of the file that stands for it. */
  readonly mark: string;
}

/** Why a package has no stand-in: dpkg gets the package itself. */
export class UnfitPackage extends Error {}

/** Sees what is in a package as it comes, in its order, without the root directory. */
export interface PackageWatcher {
  /** Whether it takes contents of a file of so many bytes. */
  wants(size: number): boolean;
  /** A folder, a link, or a file with its contents. */
  onEntry(entry: TarEntry, contents?: Buffer): void;
  /** A file whose contents come from now on. It has to close it. */
  onFile(entry: TarEntry & { readonly type: 'file' }, file: GrowingFile): void;
}

/**
 * @param onListening called when the pipe has a reader
 * @throws UnfitPackage for what dpkg reads otherwise or not at all, and for what ends early; the system's error for what
 *   cannot be read or written
 */
export function makeStandIn(job: StandInJob, onListening: () => void, watcher?: PackageWatcher): AsideFile[] {
  using source = new Descriptor(job.pipe, constants.O_RDONLY);
  onListening();
  using target = new Descriptor(job.standIn, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  copyUntilData(job.deb, target);
  const header = target.position;
  target.write(dataHeader(0));
  const input = new PipeReader(source.fd);
  const aside = divertFiles(input, target, job, watcher);
  writeFully(target.fd, dataHeader(target.position - header - AR_HEADER), header);
  input.drain();
  return aside;
}

/** The archive's magic and every member before the files. */
function copyUntilData(deb: string, target: Descriptor): void {
  using source = new Descriptor(deb, constants.O_RDONLY);
  let position = 0;
  const take = (length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    for (let filled = 0; filled < length;) {
      const read = readSync(source.fd, bytes, filled, length - filled, position + filled);
      if (read === 0) throw new UnfitPackage('it ends before its files');
      filled += read;
    }
    position += length;
    return bytes;
  };
  const magic = take(AR_MAGIC.length);
  if (magic.toString('latin1') !== AR_MAGIC) throw new UnfitPackage('it is no ar archive');
  target.write(magic);
  for (;;) {
    const header = take(AR_HEADER);
    if (header.toString('latin1', 0, 8) === 'data.tar') return;
    const size = Number(header.toString('latin1', 48, 58).trim());
    if (!Number.isSafeInteger(size) || size < 0 || position + size > MAX_BEFORE_DATA) {
      throw new UnfitPackage('a member before its files has no sensible size');
    }
    target.write(header);
    target.write(take(size + (size % 2)));
  }
}

/** Of the member with the files. Columns: name, time, owner, group, mode, size. */
function dataHeader(size: number): Buffer {
  const fields = ['data.tar'.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8)];
  return Buffer.from(`${fields.join('')}${String(size).padEnd(10)}\`\n`, 'latin1');
}

/** Copies the archive of a package's files, but for the contents of large ones. */
function divertFiles(
  input: PipeReader,
  target: Descriptor,
  job: StandInJob,
  watcher: PackageWatcher | undefined,
): AsideFile[] {
  const aside: AsideFile[] = [];
  let longName: Buffer | undefined;
  let longTarget: Buffer | undefined;
  for (;;) {
    const header = input.take(BLOCK);
    if (header[0] === 0) break;
    assertSum(header);
    const type = String.fromCharCode(header[156] ?? 0);
    const size = sizeIn(header);
    const padding = (BLOCK - (size % BLOCK)) % BLOCK;
    if (type === 'L' || type === 'K') {
      if (size > MAX_NAME) throw new UnfitPackage('it has a name that is too long');
      const name = input.take(size + padding);
      target.write(header);
      target.write(name);
      if (type === 'L') longName = name.subarray(0, size);
      else longTarget = name.subarray(0, size);
      continue;
    }
    const path = textOf(longName ?? nameIn(header));
    const common = commonOf(header, path);
    if (type === '0' || type === '\0') {
      // Before POSIX, a directory was a file whose name ends so.
      if (path.endsWith('/')) throw new UnfitPackage(`${path} is a directory of the old kind`);
      const entry = { ...common, type: 'file', size } as const;
      if (size < ASIDE_BYTES) {
        target.write(header);
        if (watcher?.wants(size) === true) {
          const contents = input.take(size);
          target.write(contents);
          watcher.onEntry(entry, contents);
          input.copy(padding, target);
        } else {
          input.copy(size + padding, target);
        }
      } else {
        const file = join(job.folder, String(aside.length));
        const mark = `${job.secret} ${aside.length}\n`;
        target.write(withSize(header, mark.length));
        target.write(Buffer.concat([Buffer.from(mark), Buffer.alloc(BLOCK - mark.length)]));
        putAside(input, size, file, watcher && ((growing) => { watcher.onFile(entry, growing); }));
        input.take(padding);
        aside.push({ path, file, mark });
      }
    } else if (type === '1' || type === '2' || type === '5') {
      if (size !== 0) throw new UnfitPackage('a link or directory in it has contents');
      target.write(header);
      if (type === '5') {
        if (common.path !== '') watcher?.onEntry({ ...common, type: 'directory' });
      } else {
        const to = textOf(longTarget ?? header.subarray(157, 257));
        const link = type === '1' ? ({ type: 'hardlink', target: plainPath(to) } as const) : ({ type: 'symlink', target: to } as const);
        watcher?.onEntry({ ...common, ...link });
      }
    } else {
      throw new UnfitPackage(`it has an entry of type ${JSON.stringify(type)}`);
    }
    longName = undefined;
    longTarget = undefined;
  }
  target.write(Buffer.alloc(2 * BLOCK));
  return aside;
}

/** What dpkg makes of it may differ, such as an owner that it knows by name. */
function commonOf(header: Buffer, path: string): Pick<TarEntry, 'path' | 'mode' | 'uid' | 'gid' | 'mtime'> {
  const [mode = 0, uid = 0, gid = 0, mtime = 0] = [
    header.subarray(100, 108),
    header.subarray(108, 116),
    header.subarray(116, 124),
    header.subarray(136, 148),
  ].map(octal);
  return { path: plainPath(path), mode: mode & 0o7777, uid, gid, mtime };
}

/** As entries of a layer have it. */
function plainPath(path: string): string {
  return path.replace(/^\.?\/+/, '').replace(/\/+$/, '');
}

function putAside(
  input: PipeReader,
  size: number,
  path: string,
  watch: ((file: GrowingFile) => void) | undefined,
): void {
  using file = new Descriptor(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  if (watch === undefined) {
    input.copy(size, file);
    return;
  }
  const progress = new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT);
  const counter = new BigInt64Array(progress);
  const tell = (bytes: number): void => {
    Atomics.store(counter, 0, BigInt(bytes));
    Atomics.notify(counter, 0);
  };
  watch({ fd: openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW), inode: fstatSync(file.fd).ino, progress });
  try {
    input.copy(size, file, tell);
  } catch (error) {
    tell(-1);
    throw error;
  }
}

function assertSum(header: Buffer): void {
  if (sumOf(header) !== octal(header.subarray(148, 156))) {
    throw new UnfitPackage('a header in it has a wrong checksum');
  }
}

/** The checksum counts its own field as spaces. */
function sumOf(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < BLOCK; at++) sum += at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0);
  return sum;
}

function sizeIn(header: Buffer): number {
  const size = octal(header.subarray(124, 136));
  if (size === undefined) throw new UnfitPackage('an entry in it has no octal size');
  return size;
}

function octal(field: Buffer): number | undefined {
  const match = /^ *([0-7]+)[ \0]*$/.exec(field.toString('latin1'));
  return match?.[1] === undefined ? undefined : Number.parseInt(match[1], 8);
}

function withSize(header: Buffer, size: number): Buffer {
  const changed = Buffer.from(header);
  changed.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  changed.write(`${sumOf(changed).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return changed;
}

function nameIn(header: Buffer): Buffer {
  const name = upToZero(header.subarray(0, 100));
  if (header.toString('latin1', 257, 263) !== 'ustar\0') return name;
  const prefix = upToZero(header.subarray(345, 500));
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]);
}

function textOf(name: Buffer): string {
  const bytes = upToZero(name);
  if (!isUtf8(bytes)) throw new UnfitPackage('it has a name that is not UTF-8');
  return bytes.toString();
}

function upToZero(field: Buffer): Buffer {
  const end = field.indexOf(0);
  return end === -1 ? field : field.subarray(0, end);
}

function writeFully(fd: number, bytes: Buffer, position: number | null): void {
  for (let done = 0; done < bytes.length;) {
    const at = position === null ? null : position + done;
    done += writeSync(fd, bytes, done, bytes.length - done, at);
  }
}

/** An open file, written from its start to its end. */
class Descriptor implements Disposable {
  readonly fd: number;
  position = 0;

  constructor(path: string, flags: number) {
    this.fd = openSync(path, flags | constants.O_NOFOLLOW, 0o600);
  }

  write(bytes: Buffer): void {
    writeFully(this.fd, bytes, null);
    this.position += bytes.length;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** Takes bytes off a pipe, waiting for them. */
class PipeReader {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(PIPE_BYTES);
  #start = 0;
  #end = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Copied, so that it stays. */
  take(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let filled = 0; filled < length;) {
      const part = this.#next(length - filled);
      part.copy(bytes, filled);
      filled += part.length;
    }
    return bytes;
  }

  /** @param onBytes told now and then how many were copied, and at the end */
  copy(length: number, target: Descriptor, onBytes?: (bytes: number) => void): void {
    let untold = 0;
    for (let left = length; left > 0;) {
      const part = this.#next(left);
      target.write(part);
      left -= part.length;
      untold += part.length;
      if (untold < TOLD_BYTES && left > 0) continue;
      onBytes?.(length - left);
      untold = 0;
    }
  }

  /** Reads to the end, so that the program at the other one can end well. */
  drain(): void {
    while (readSync(this.#fd, this.#buffer) > 0);
  }

  #next(atMost: number): Buffer {
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = readSync(this.#fd, this.#buffer);
      if (this.#end === 0) throw new UnfitPackage('its files end early');
    }
    const end = Math.min(this.#end, this.#start + atMost);
    const part = this.#buffer.subarray(this.#start, end);
    this.#start = end;
    return part;
  }
}

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
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Smaller files stay in the stand-in: taking one aside costs more than dpkg's copying it. */
export const ASIDE_BYTES = 64 * 1024;

const BLOCK = 512;
const PIPE_BYTES = 256 * 1024;
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

/**
 * @param onListening called when the pipe has a reader
 * @throws UnfitPackage for what dpkg reads otherwise or not at all, and for what ends early; the system's error for what
 *   cannot be read or written
 */
export function makeStandIn(job: StandInJob, onListening: () => void): AsideFile[] {
  using source = new Descriptor(job.pipe, constants.O_RDONLY);
  onListening();
  using target = new Descriptor(job.standIn, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  copyUntilData(job.deb, target);
  const header = target.position;
  target.write(dataHeader(0));
  const input = new PipeReader(source.fd);
  const aside = divertFiles(input, target, job);
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
function divertFiles(input: PipeReader, target: Descriptor, job: StandInJob): AsideFile[] {
  const aside: AsideFile[] = [];
  let longName: Buffer | undefined;
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
      continue;
    }
    if (type === '0' || type === '\0') {
      const path = textOf(longName ?? nameIn(header));
      // Before POSIX, a directory was a file whose name ends so.
      if (path.endsWith('/')) throw new UnfitPackage(`${path} is a directory of the old kind`);
      if (size < ASIDE_BYTES) {
        target.write(header);
        input.copy(size + padding, target);
      } else {
        const file = join(job.folder, String(aside.length));
        const mark = `${job.secret} ${aside.length}\n`;
        target.write(withSize(header, mark.length));
        target.write(Buffer.concat([Buffer.from(mark), Buffer.alloc(BLOCK - mark.length)]));
        putAside(input, size, file);
        input.take(padding);
        aside.push({ path, file, mark });
      }
    } else if (type === '1' || type === '2' || type === '5') {
      if (size !== 0) throw new UnfitPackage('a link or directory in it has contents');
      target.write(header);
    } else {
      throw new UnfitPackage(`it has an entry of type ${JSON.stringify(type)}`);
    }
    longName = undefined;
  }
  target.write(Buffer.alloc(2 * BLOCK));
  return aside;
}

function putAside(input: PipeReader, size: number, path: string): void {
  using file = new Descriptor(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  input.copy(size, file);
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

  copy(length: number, target: Descriptor): void {
    for (let left = length; left > 0;) {
      const part = this.#next(left);
      target.write(part);
      left -= part.length;
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

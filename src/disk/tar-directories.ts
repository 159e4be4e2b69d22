/**
 * Reads the directory headers of a tar archive and passes over everything else.
 *
 * ostree ignores the mode and owner that an upper layer gives a directory which a lower layer already has; the
 * headers say what they should be. Formats: ustar, pax (POSIX.1-2001) and GNU long names, since any of them can
 * be in a layer. Whiteouts: OCI image spec, "Layer filesystem changeset".
 */
import { Writable } from 'node:stream';

const BLOCK = 512;
/** Long names and attributes of one entry; kept in memory, so bounded, as tar(1) and the kernel bound them. */
const MAX_DESCRIPTION = 1024 * 1024;

export interface DirectoryHeader {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The state of the directories after the layers seen so far: path relative to the root, without slashes at its
 * ends, to the header that counts. Entries that a later layer hides or replaces are gone.
 */
export class DirectoryHeaders {
  readonly #headers = new Map<string, DirectoryHeader>();

  get all(): ReadonlyMap<string, DirectoryHeader> {
    return this.#headers;
  }

  set(path: string, header: DirectoryHeader): void {
    this.#headers.set(path, header);
  }

  /** Something that is not a directory: it may replace or hide one. */
  sawOther(path: string): void {
    const slash = path.lastIndexOf('/');
    const folder = path.slice(0, Math.max(slash, 0));
    const name = path.slice(slash + 1);
    if (!name.startsWith('.wh.')) {
      if (this.#headers.has(path)) this.#forget(path, true);
    } else if (name === '.wh..wh..opq') {
      this.#forget(folder, false);
    } else {
      this.#forget(folder === '' ? name.slice(4) : `${folder}/${name.slice(4)}`, true);
    }
  }

  #forget(path: string, itself: boolean): void {
    for (const known of this.#headers.keys()) {
      if ((itself && known === path) || known.startsWith(path === '' ? '' : `${path}/`)) {
        if (known !== '') this.#headers.delete(known);
      }
    }
  }
}

/** A sink for one layer's plain archive. Its `error` is about an archive that cannot be read. */
export class TarDirectoryReader extends Writable {
  readonly #headers: DirectoryHeaders;
  readonly #header = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Content bytes, with padding, before the next header. */
  #skip = 0;
  /** Collects content that is itself about the next entry. */
  #collect: { readonly type: string; readonly size: number; readonly chunks: Buffer[] } | undefined;
  #longPath: string | undefined;
  #pax = new Map<string, string>();
  /** An opaque whiteout hides what lower layers have, wherever it stands in this one: it is applied first. */
  readonly #directories: { readonly path: string; readonly header: DirectoryHeader }[] = [];

  constructor(headers: DirectoryHeaders) {
    super();
    this.#headers = headers;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    try {
      let at = 0;
      while (at < chunk.length) {
        if (this.#skip > 0) {
          const part = Math.min(this.#skip, chunk.length - at);
          this.#collect?.chunks.push(Buffer.from(chunk.subarray(at, at + part)));
          this.#skip -= part;
          at += part;
          if (this.#skip === 0) this.#endContent();
          continue;
        }
        const part = Math.min(BLOCK - this.#filled, chunk.length - at);
        chunk.copy(this.#header, this.#filled, at, at + part);
        this.#filled += part;
        at += part;
        if (this.#filled === BLOCK) {
          this.#filled = 0;
          this.#readHeader();
        }
      }
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _final(done: (error?: Error) => void): void {
    if (this.#skip > 0 || this.#filled > 0) {
      done(new Error('the archive ends in the middle of an entry'));
      return;
    }
    for (const { path, header } of this.#directories) this.#headers.set(path, header);
    done();
  }

  #readHeader(): void {
    const header = this.#header;
    if (header.every((byte) => byte === 0)) return; // padding at the end
    let sum = 0;
    for (let at = 0; at < BLOCK; at++) sum += at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0);
    if (sum !== this.#number(148, 8)) throw new Error('a header of the archive has a wrong checksum');
    const type = String.fromCharCode(header[156] ?? 0);
    const paxSize = this.#pax.get('size');
    const size = paxSize === undefined ? this.#number(124, 12) : Number(paxSize);
    this.#skip = type >= '1' && type <= '6' ? 0 : Math.ceil(size / BLOCK) * BLOCK;
    if (!Number.isSafeInteger(size) || size < 0)
      throw new Error('an entry of the archive has no sensible size');
    if ('xLKg'.includes(type)) {
      if (size > MAX_DESCRIPTION) throw new Error(`an extended header of the archive takes ${size} bytes`);
      this.#collect = { type, size, chunks: [] };
      if (this.#skip === 0) this.#endContent();
      return;
    }
    const path = normalisePath(this.#pax.get('path') ?? this.#longPath ?? this.#plainPath());
    if (type === '5') {
      this.#directories.push({
        path,
        header: {
          mode: this.#number(100, 8) & 0o7777,
          uid: ownerId(this.#pax.get('uid') ?? this.#number(108, 8)),
          gid: ownerId(this.#pax.get('gid') ?? this.#number(116, 8)),
        },
      });
    } else {
      this.#headers.sawOther(path);
    }
    this.#longPath = undefined;
    this.#pax = new Map();
  }

  /** The content of an entry that describes the next one has been read. */
  #endContent(): void {
    const collected = this.#collect;
    if (collected === undefined) return;
    this.#collect = undefined;
    const content = Buffer.concat(collected.chunks).subarray(0, collected.size);
    if (collected.type === 'L') this.#longPath = content.toString('utf8').replace(/\0.*$/s, '');
    else if (collected.type === 'x') this.#pax = parsePaxRecords(content);
  }

  #plainPath(): string {
    const name = this.#text(0, 100);
    const prefix = this.#header.toString('latin1', 257, 263) === 'ustar\0' ? this.#text(345, 155) : '';
    return prefix === '' ? name : `${prefix}/${name}`;
  }

  #text(offset: number, length: number): string {
    const field = this.#header.subarray(offset, offset + length);
    const end = field.indexOf(0);
    return field.toString('utf8', 0, end === -1 ? length : end);
  }

  /** Octal text, or GNU's base-256 when the first bit is set. */
  #number(offset: number, length: number): number {
    const field = this.#header.subarray(offset, offset + length);
    if (((field[0] ?? 0) & 0x80) !== 0) {
      let value = (field[0] ?? 0) & 0x7f;
      for (const byte of field.subarray(1)) value = value * 256 + byte;
      return value;
    }
    const text = field.toString('latin1').replace(/[\0 ].*$/s, (rest) => rest.replace(/[\0 ]/g, ''));
    return text === '' ? 0 : Number.parseInt(text, 8);
  }
}

/**
 * `./usr//lib/` becomes `usr/lib`, and the root the empty string. Whoever uses the path joins it to a root of the
 * host's, so one that climbs is refused, whatever the importer beside us makes of it.
 */
function normalisePath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || path.includes('\0')) {
    throw new Error(`the archive has an entry outside of its root: ${JSON.stringify(path)}`);
  }
  return parts.join('/');
}

/** Of 32 bits, all of them set being no number at all (chown(2)). */
function ownerId(value: string | number): number {
  const id = Number(value);
  if (Number.isInteger(id) && id >= 0 && id < 2 ** 32 - 1) return id;
  throw new Error(`the archive has an owner that cannot be: ${JSON.stringify(value)}`);
}

/** Records of an extended header: `LENGTH KEY=VALUE\n`, lengths in bytes. */
function parsePaxRecords(content: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  let at = 0;
  while (at < content.length) {
    const space = content.indexOf(0x20, at);
    const length = Number.parseInt(content.toString('latin1', at, space), 10);
    if (space === -1 || !Number.isInteger(length) || length <= 0) {
      throw new Error('an extended header of the archive is damaged');
    }
    const record = content.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    records.set(record.toString('utf8', 0, equals), record.toString('utf8', equals + 1));
    at += length;
  }
  return records;
}

/**
 * The entries of a tar archive, as its bytes go by. Formats: ustar, pax (POSIX.1-2001) and GNU long names, since any
 * of them can be in a layer. What an archive says is data from a stranger: names stay inside of its root, numbers make
 * sense, and nothing is kept that is not bounded.
 */
const BLOCK = 512;
/** Long names and attributes of one entry; kept in memory, so bounded, as tar(1) and the kernel bound them. */
const MAX_DESCRIPTION = 1024 * 1024;

const TYPES = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
} as const;

export interface TarMember {
  /** Relative to the root, without slashes at its ends; the root itself is the empty string. */
  readonly path: string;
  /** Undefined for a type that no standard names. */
  readonly type: (typeof TYPES)[keyof typeof TYPES] | undefined;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970; with a fraction where the archive has one. */
  readonly mtime: number;
  /** Bytes of content. */
  readonly size: number;
  /** Of links, as it stands in the archive. */
  readonly target: string | undefined;
  /** Device numbers, for those who have them. */
  readonly device: readonly [major: number, minor: number] | undefined;
  /** Extended attributes by name. */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** Takes the content of one entry. */
export interface ContentSink {
  write(bytes: Buffer): void;
  end(): void;
}

/** @throws Error from `write` and `end`, about an archive that cannot be read */
export class TarParser {
  readonly #see: (member: TarMember) => ContentSink | undefined;
  readonly #header = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Bytes of the archive before the piece that is being read, and where the content after the last header begins. */
  #before = 0;
  #contentAt = 0;
  /** Content bytes before the next header, and the padding after them. */
  #content = 0;
  #padding = 0;
  #sink: ContentSink | undefined;
  /** The content is itself about the next entry. */
  #describes: { readonly type: string; readonly chunks: Buffer[] } | undefined;
  #longPath: string | undefined;
  #longTarget: string | undefined;
  #pax: ReadonlyMap<string, Buffer> = new Map();

  /** @param see called for every entry, in order; gives what takes its content, if anything does */
  constructor(see: (member: TarMember) => ContentSink | undefined) {
    this.#see = see;
  }

  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#content > 0) {
        const part = Math.min(this.#content, chunk.length - at);
        const bytes = chunk.subarray(at, at + part);
        this.#sink?.write(bytes);
        this.#describes?.chunks.push(Buffer.from(bytes));
        this.#content -= part;
        at += part;
        if (this.#content === 0) this.#endContent();
      } else if (this.#padding > 0) {
        const part = Math.min(this.#padding, chunk.length - at);
        this.#padding -= part;
        at += part;
      } else {
        const part = Math.min(BLOCK - this.#filled, chunk.length - at);
        chunk.copy(this.#header, this.#filled, at, at + part);
        this.#filled += part;
        at += part;
        if (this.#filled === BLOCK) {
          this.#filled = 0;
          this.#contentAt = this.#before + at;
          this.#readHeader();
        }
      }
    }
    this.#before += chunk.length;
  }

  /** Where the content of the entry that is being seen begins, in bytes from the beginning of the archive. */
  get contentAt(): number {
    return this.#contentAt;
  }

  /**
   * Passes over the content of the entry that was just seen, for a caller that can seek. Gives the bytes, padding
   * included, that must not be written.
   */
  skipContent(): number {
    if (this.#filled > 0 || this.#describes !== undefined) return 0;
    const skipped = this.#content + this.#padding;
    this.#content = 0;
    this.#padding = 0;
    this.#endContent();
    return skipped;
  }

  end(): void {
    if (this.#content + this.#padding > 0 || this.#filled > 0) {
      throw new Error('the archive ends in the middle of an entry');
    }
  }

  #readHeader(): void {
    const header = this.#header;
    if (header.every((byte) => byte === 0)) return; // padding at the end
    let sum = 0;
    for (let at = 0; at < BLOCK; at++) sum += at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0);
    if (sum !== this.#number(148, 8)) throw new Error('a header of the archive has a wrong checksum');
    const flag = String.fromCharCode(header[156] ?? 0);
    const said = this.#text('size');
    const size = said === undefined ? this.#number(124, 12) : Number(said);
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new Error('an entry of the archive has no sensible size');
    }
    const bytes = flag >= '1' && flag <= '6' ? 0 : size;
    this.#content = bytes;
    this.#padding = (BLOCK - (bytes % BLOCK)) % BLOCK;
    if ('xLKg'.includes(flag)) {
      if (size > MAX_DESCRIPTION) throw new Error(`an extended header of the archive takes ${size} bytes`);
      this.#describes = { type: flag, chunks: [] };
    } else {
      this.#sink = this.#see(this.#member(flag, bytes));
      this.#longPath = undefined;
      this.#longTarget = undefined;
      this.#pax = new Map();
    }
    if (bytes === 0) this.#endContent();
  }

  #member(flag: string, size: number): TarMember {
    const type = flag in TYPES ? TYPES[flag as keyof typeof TYPES] : undefined;
    const isLink = type === 'hardlink' || type === 'symlink';
    const isDevice = type === 'character-device' || type === 'block-device';
    return {
      path: normalisePath(this.#text('path') ?? this.#longPath ?? this.#plainPath()),
      type,
      mode: this.#number(100, 8) & 0o7777,
      uid: ownerId(this.#text('uid') ?? this.#number(108, 8)),
      gid: ownerId(this.#text('gid') ?? this.#number(116, 8)),
      mtime: Number(this.#text('mtime') ?? this.#number(136, 12)),
      size,
      target: isLink ? (this.#text('linkpath') ?? this.#longTarget ?? this.#field(157, 100)) : undefined,
      device: isDevice ? [this.#number(329, 8), this.#number(337, 8)] : undefined,
      xattrs: this.#xattrs(),
    };
  }

  #xattrs(): ReadonlyMap<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (const [key, value] of this.#pax) {
      if (key.startsWith('SCHILY.xattr.')) found.set(key.slice('SCHILY.xattr.'.length), value);
    }
    return found;
  }

  #endContent(): void {
    this.#sink?.end();
    this.#sink = undefined;
    const described = this.#describes;
    if (described === undefined) return;
    this.#describes = undefined;
    const content = Buffer.concat(described.chunks);
    if (described.type === 'L') this.#longPath = content.toString('utf8').replace(/\0.*$/s, '');
    else if (described.type === 'K') this.#longTarget = content.toString('utf8').replace(/\0.*$/s, '');
    else if (described.type === 'x') this.#pax = parsePaxRecords(content);
  }

  /** A record of the extended header before this entry. */
  #text(key: string): string | undefined {
    return this.#pax.get(key)?.toString('utf8');
  }

  #plainPath(): string {
    const name = this.#field(0, 100);
    const prefix = this.#header.toString('latin1', 257, 263) === 'ustar\0' ? this.#field(345, 155) : '';
    return prefix === '' ? name : `${prefix}/${name}`;
  }

  #field(offset: number, length: number): string {
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
function parsePaxRecords(content: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  let at = 0;
  while (at < content.length) {
    const space = content.indexOf(0x20, at);
    const length = Number.parseInt(content.toString('latin1', at, space), 10);
    if (space === -1 || !Number.isInteger(length) || length <= 0) {
      throw new Error('an extended header of the archive is damaged');
    }
    const record = content.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    records.set(record.toString('utf8', 0, equals), Buffer.from(record.subarray(equals + 1)));
    at += length;
  }
  return records;
}

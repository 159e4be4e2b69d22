/**
 * What rpm's database says is installed. Pure.
 *
 * A package is a header (rpm's "Package File Format", section Header): an index of tags, each with the place of its
 * value in the data behind it. Only the few tags that are asked for are read.
 */
import { tableRows } from './sqlite-table.ts';

/** Where images have it, relative to the root; what systems of today make first. */
export const RPM_DATABASE_FOLDERS = ['usr/lib/sysimage/rpm', 'usr/share/rpm', 'var/lib/rpm'] as const;
export const RPM_DATABASE = 'rpmdb.sqlite';

export interface RpmPackage {
  readonly name: string;
  /** `epoch:version-release`; an epoch of 0 is not written. */
  readonly version: string;
  readonly architecture: string;
  /** Name of the source package. */
  readonly source: string;
  /** Its version and release; undefined where the package does not name it. */
  readonly sourceVersion: string | undefined;
  /** The fields `Vendor`, `License` and `URL`, as the packager wrote them. */
  readonly vendor: string | undefined;
  readonly licence: string | undefined;
  readonly homepage: string | undefined;
  /** Bytes of its files. */
  readonly bytes: number;
  /** Absolute paths; a directory is one too. */
  files(): string[];
}

const TAG = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  size: 1009,
  vendor: 1011,
  licence: 1014,
  homepage: 1020,
  architecture: 1022,
  sourceRpm: 1044,
  directoryIndexes: 1116,
  baseNames: 1117,
  directoryNames: 1118,
  longSize: 5009,
} as const;

/** Of keys, which the database has as packages of this name. */
const KEYS = 'gpg-pubkey';

/**
 * In name order, imported keys left out.
 *
 * @throws Error for what is no database of rpm, or a damaged one
 */
export function readRpmDatabase(database: Buffer): RpmPackage[] {
  const packages = [...tableRows(database, 'Packages')].flatMap(([, blob]) => {
    if (!Buffer.isBuffer(blob)) throw new Error('the database is damaged');
    const header = new Header(blob);
    const name = header.text(TAG.name);
    return name === undefined || name === KEYS ? [] : [describe(name, header)];
  });
  return packages.sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
}

function describe(name: string, header: Header): RpmPackage {
  const [epoch = 0] = header.numbers(TAG.epoch);
  const version = `${header.text(TAG.version) ?? ''}-${header.text(TAG.release) ?? ''}`;
  const [bytes = header.numbers(TAG.longSize)[0] ?? 0] = header.numbers(TAG.size);
  // `bash-5.2.26-3.fc40.src.rpm`
  const [, source = name, sourceVersion] =
    /^(.+)-([^-]+-[^-]+)\.[^.]+\.rpm$/.exec(header.text(TAG.sourceRpm) ?? '') ?? [];
  return {
    name,
    version: epoch === 0 ? version : `${epoch}:${version}`,
    architecture: header.text(TAG.architecture) ?? '',
    source,
    sourceVersion,
    vendor: header.text(TAG.vendor),
    licence: header.text(TAG.licence),
    homepage: header.text(TAG.homepage),
    bytes,
    files: () => {
      const folders = header.texts(TAG.directoryNames);
      const places = header.numbers(TAG.directoryIndexes);
      return header
        .texts(TAG.baseNames)
        .map((file, index) => `${folders[places[index] ?? -1] ?? '/'}${file}`);
    },
  };
}

const ENTRY_BYTES = 16;
const INT32 = 4;
const INT64 = 5;
const STRINGS = [6, 8, 9];

class Header {
  readonly #entries = new Map<
    number,
    { readonly type: number; readonly at: number; readonly count: number }
  >();
  readonly #data: Buffer;

  constructor(blob: Buffer) {
    const entries = blob.length < 8 ? -1 : blob.readUInt32BE(0);
    const start = 8 + entries * ENTRY_BYTES;
    if (entries < 0 || start > blob.length) throw new Error('a header of the database is damaged');
    this.#data = blob.subarray(start);
    for (let at = 8; at < start; at += ENTRY_BYTES) {
      this.#entries.set(blob.readUInt32BE(at), {
        type: blob.readUInt32BE(at + 4),
        at: blob.readUInt32BE(at + 8),
        count: blob.readUInt32BE(at + 12),
      });
    }
  }

  text(tag: number): string | undefined {
    return this.texts(tag)[0];
  }

  texts(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined || !STRINGS.includes(entry.type)) return [];
    const found: string[] = [];
    for (let at = entry.at; found.length < entry.count;) {
      const end = this.#data.indexOf(0, at);
      if (end < 0) throw new Error('a header of the database is damaged');
      found.push(this.#data.toString('utf8', at, end));
      at = end + 1;
    }
    return found;
  }

  numbers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined || (entry.type !== INT32 && entry.type !== INT64)) return [];
    const bytes = entry.type === INT32 ? 4 : 8;
    if (entry.at + bytes * entry.count > this.#data.length)
      throw new Error('a header of the database is damaged');
    return Array.from({ length: entry.count }, (_, index) => {
      const at = entry.at + bytes * index;
      return bytes === 4 ? this.#data.readUInt32BE(at) : Number(this.#data.readBigUInt64BE(at));
    });
  }
}

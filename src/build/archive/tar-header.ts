/**
 * Headers of a PAX archive (POSIX.1-2001, pax "Interchange Format"). Pure.
 *
 * The bytes depend on the entry alone: no user or group names, no access or change times, no process number.
 * An extended header is written only for what the plain one cannot hold.
 */
import { IngotError } from '../../errors.ts';

export const TAR_BLOCK = 512;

interface EntryCommon {
  /** Relative, without `./` and without a trailing slash. */
  readonly path: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds. */
  readonly mtime: number;
  readonly xattrs?: ReadonlyMap<string, Buffer> | undefined;
}

export type TarEntry = EntryCommon &
  (
    | { readonly type: 'file'; readonly size: number }
    | { readonly type: 'directory' }
    | { readonly type: 'fifo' }
    | { readonly type: 'symlink' | 'hardlink'; readonly target: string }
    | { readonly type: 'character-device' | 'block-device'; readonly major: number; readonly minor: number }
  );

const TYPE_FLAGS: Readonly<Record<TarEntry['type'], string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
};

const NAME_BYTES = 100;
const MAX_OCTAL_7 = 0o7777777;
const MAX_OCTAL_11 = 0o77777777777;
/** Printable ASCII: what every reader takes from a plain header the same way. */
const PLAIN_TEXT = /^[\x20-\x7e]*$/;

/**
 * The header, and before it the extended header if there is one. A whole number of 512-byte blocks.
 *
 * @throws IngotError BUILD_FAILED for an attribute name or device number that the format cannot carry.
 */
export function renderTarEntry(entry: TarEntry): Buffer {
  const name = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const target = 'target' in entry ? entry.target : '';
  const size = entry.type === 'file' ? entry.size : 0;
  const records: Buffer[] = [];
  const record = (key: string, value: string | Buffer): void => {
    records.push(renderPaxRecord(key, value));
  };
  if (!fitsPlain(name)) record('path', name);
  if (!fitsPlain(target)) record('linkpath', target);
  if (size > MAX_OCTAL_11) record('size', String(size));
  if (entry.uid > MAX_OCTAL_7) record('uid', String(entry.uid));
  if (entry.gid > MAX_OCTAL_7) record('gid', String(entry.gid));
  if (entry.mtime < 0 || entry.mtime > MAX_OCTAL_11) record('mtime', String(entry.mtime));
  for (const [key, value] of [...(entry.xattrs ?? [])].sort(([left], [right]) => (left < right ? -1 : 1))) {
    // GNU tar writes `=` and `%` of a name as %3D and %25, other readers take the name as it stands.
    if (/[=%]/.test(key)) {
      throw new IngotError(
        'BUILD_FAILED',
        `${entry.path}: the extended attribute ${key} has a name that archives cannot carry`,
        { hint: 'remove the attribute, or give it a name without "=" and "%"' },
      );
    }
    record(`SCHILY.xattr.${key}`, value);
  }
  const major = 'major' in entry ? entry.major : 0;
  const minor = 'minor' in entry ? entry.minor : 0;
  if (major > MAX_OCTAL_7 || minor > MAX_OCTAL_7) {
    throw new IngotError('BUILD_FAILED', `${entry.path}: device ${major}:${minor} cannot be archived`);
  }
  const header = renderPlainHeader({
    name,
    target,
    typeFlag: TYPE_FLAGS[entry.type],
    mode: entry.mode,
    uid: entry.uid > MAX_OCTAL_7 ? 0 : entry.uid,
    gid: entry.gid > MAX_OCTAL_7 ? 0 : entry.gid,
    size: size > MAX_OCTAL_11 ? 0 : size,
    mtime: Math.min(Math.max(entry.mtime, 0), MAX_OCTAL_11),
    major,
    minor,
  });
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const extended = renderPlainHeader({
    name: '././@PaxHeader',
    target: '',
    typeFlag: 'x',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: body.length,
    mtime: 0,
    major: 0,
    minor: 0,
  });
  return Buffer.concat([extended, body, Buffer.alloc(paddingOf(body.length)), header]);
}

/** Zero bytes that follow contents of `size` bytes. */
export function paddingOf(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

function fitsPlain(text: string): boolean {
  return text.length <= NAME_BYTES && PLAIN_TEXT.test(text);
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts itself. The value is any bytes. */
export function renderPaxRecord(key: string, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  const rest = Buffer.byteLength(key) + bytes.length + 3; // space, "=", newline
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`), bytes, Buffer.from('\n')]);
}

interface PlainFields {
  readonly name: string;
  readonly target: string;
  readonly typeFlag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

function renderPlainHeader(fields: PlainFields): Buffer {
  const header = Buffer.alloc(TAR_BLOCK);
  const text = (offset: number, length: number, value: string): void => {
    header.write(value, offset, length, 'latin1');
  };
  const octal = (offset: number, length: number, value: number): void => {
    text(offset, length - 1, value.toString(8).padStart(length - 1, '0'));
  };
  text(0, NAME_BYTES, plainName(fields.name));
  octal(100, 8, fields.mode);
  octal(108, 8, fields.uid);
  octal(116, 8, fields.gid);
  octal(124, 12, fields.size);
  octal(136, 12, fields.mtime);
  text(148, 8, '        '); // the checksum counts its own field as spaces
  text(156, 1, fields.typeFlag);
  text(157, NAME_BYTES, plainName(fields.target));
  text(257, 8, 'ustar\x0000');
  octal(329, 8, fields.major);
  octal(337, 8, fields.minor);
  let sum = 0;
  for (const byte of header) sum += byte;
  text(148, 7, `${sum.toString(8).padStart(6, '0')}\0`);
  return header;
}

/** What a reader without PAX would see; the `path` record overrides it. */
function plainName(name: string): string {
  return fitsPlain(name) ? name : name.replaceAll(/[^\x20-\x7e]/g, '_').slice(0, NAME_BYTES);
}

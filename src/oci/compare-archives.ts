/**
 * What two archives of one layer hold differently: entry by entry, header field by header field, and the first byte of
 * contents that is not the same. Reads both once, side by side; memory does not grow with them.
 *
 * Both have their entries in the order in which layers are written: depth first, names of a folder by their bytes. Of
 * archives in another order it says too much, but never that they are the same.
 */
import { TarCursor } from './tar-cursor.ts';
import type { TarMember } from './tar-parser.ts';

export interface ArchiveDifference {
  /** Relative to the root. */
  readonly path: string;
  /** `presence`, `content`, a field of the header such as `mode`, or an attribute's name. */
  readonly what: string;
  /** As people read them. */
  readonly left: string;
  readonly right: string;
  /** Of contents: the first byte that differs, from 0. */
  readonly offset?: number;
}

export async function* compareArchives(
  left: AsyncIterable<Buffer>,
  right: AsyncIterable<Buffer>,
): AsyncGenerator<ArchiveDifference> {
  await using ours = new TarCursor(left);
  await using theirs = new TarCursor(right);
  let [one, other] = [await ours.next(), await theirs.next()];
  while (one !== undefined || other !== undefined) {
    const order = one === undefined ? 1 : other === undefined ? -1 : compareOrder(one.path, other.path);
    if (one !== undefined && order < 0) {
      yield { path: one.path, what: 'presence', left: `a ${one.type ?? 'thing'}`, right: 'nothing' };
    } else if (other !== undefined && order > 0) {
      yield { path: other.path, what: 'presence', left: 'nothing', right: `a ${other.type ?? 'thing'}` };
    } else if (one !== undefined && other !== undefined) {
      yield* compareHeaders(one, other);
      const content = await firstDifference(ours, theirs);
      if (content !== undefined) yield { path: one.path, what: 'content', ...content };
    }
    if (order <= 0) one = await ours.next();
    if (order >= 0) other = await theirs.next();
  }
}

function* compareHeaders(one: TarMember, other: TarMember): Generator<ArchiveDifference> {
  const { path } = one;
  const [left, right] = [describe(one), describe(other)];
  for (const what of new Set([...left.keys(), ...right.keys()])) {
    const [ours = 'none', theirs = 'none'] = [left.get(what), right.get(what)];
    if (ours !== theirs) yield { path, what, left: ours, right: theirs };
  }
}

function describe(member: TarMember): Map<string, string> {
  const { type = 'unknown', mode, uid, gid, mtime, size, target, device, xattrs } = member;
  const fields = new Map<string, string>([
    ['type', type],
    ['mode', mode.toString(8).padStart(4, '0')],
    ['owner', `${uid}:${gid}`],
    ['mtime', time(mtime)],
    ['size', `${size} bytes`],
  ]);
  if (target !== undefined) fields.set('target', target);
  if (device !== undefined) fields.set('device', device.join(':'));
  for (const [name, value] of xattrs) fields.set(`attribute ${name}`, value.toString('hex'));
  return fields;
}

function time(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace('.000Z', 'Z');
}

/** How much of both is shown before and after the first byte that differs. */
const SHOWN_BEFORE = 12;
const SHOWN_AFTER = 24;

async function firstDifference(
  ours: TarCursor,
  theirs: TarCursor,
): Promise<Pick<ArchiveDifference, 'left' | 'right' | 'offset'> | undefined> {
  let [left, right] = [await ours.read(), await theirs.read()];
  let before = Buffer.alloc(0);
  for (let offset = 0; left !== undefined || right !== undefined;) {
    const [mine, yours] = [left ?? Buffer.alloc(0), right ?? Buffer.alloc(0)];
    const length = Math.min(mine.length, yours.length);
    const at = length === 0 ? 0 : differsAt(mine, yours, length);
    if (at !== undefined) {
      const shown = Buffer.concat([before, mine.subarray(0, at)]).subarray(-SHOWN_BEFORE);
      const excerpt = async (cursor: TarCursor, rest: Buffer): Promise<string> => {
        let after = rest.subarray(at);
        while (after.length < SHOWN_AFTER) {
          const more = await cursor.read();
          if (more === undefined) break;
          after = Buffer.concat([after, more]);
        }
        return render(shown, after.subarray(0, SHOWN_AFTER));
      };
      return { offset: offset + at, left: await excerpt(ours, mine), right: await excerpt(theirs, yours) };
    }
    before = Buffer.from(mine.subarray(Math.max(0, length - SHOWN_BEFORE), length));
    offset += length;
    left = mine.length === length ? await ours.read() : mine.subarray(length);
    right = yours.length === length ? await theirs.read() : yours.subarray(length);
  }
  return undefined;
}

function differsAt(left: Buffer, right: Buffer, length: number): number | undefined {
  if (left.compare(right, 0, length, 0, length) === 0) return undefined;
  for (let at = 0; at < length; at += 1) if (left[at] !== right[at]) return at;
  return undefined;
}

/** `0x37 in "built at 17|7…"`, or that there is no such byte. */
function render(before: Buffer, after: Buffer): string {
  const [byte] = after;
  if (byte === undefined) return 'no byte: the content ends there';
  const text = (bytes: Buffer): string =>
    bytes.toString('latin1').replaceAll(/[^\x20-\x7e]/g, (character) => `\\x${hex(character.charCodeAt(0))}`);
  return `0x${hex(byte)} in "${text(before)}[${text(after.subarray(0, 1))}]${text(after.subarray(1))}"`;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** Component by component, by bytes; a folder comes before what is in it. Removals stand where the removed one would. */
function compareOrder(left: string, right: string): number {
  if (left === right) return 0;
  const [ours, theirs] = [left.split('/'), right.split('/')];
  for (const [index, part] of ours.entries()) {
    const other = theirs[index];
    if (other === undefined) return 1;
    if (part === other) continue;
    return Buffer.compare(orderKey(part), orderKey(other)) || (part < other ? -1 : 1);
  }
  return -1;
}

function orderKey(name: string): Buffer {
  if (name === '.wh..wh..opq') return Buffer.alloc(0);
  return Buffer.from(name.startsWith('.wh.') ? name.slice('.wh.'.length) : name);
}

/**
 * Which chunk a path of a step's tree belongs to: by the packages that the tree's own dpkg database says it is of.
 */
import { join } from 'node:path';

import type { PlanChunk } from '../../plan/chunks.ts';
import type { RootFs } from '../root-fs.ts';
import { kernelFileTarget } from '../seal/boot.ts';
import { DATABASE } from './database.ts';

/** Top folders that are links into /usr. Packages may still name their files by them. */
const MERGED = /^(?:bin|sbin|lib|lib32|lib64|libx32)\//;
/** Where unpacking puts a configuration file until the package is configured. */
const UNCONFIGURED = /\.dpkg-new$/;
/** What Python compiles of a module beside it; a package has no list of these. */
const BYTECODE = /__pycache__\/([^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc$/;
/** Large files that package scripts make from the files of one package. */
const MADE_FROM: ReadonlyMap<string, string> = new Map([['usr/lib/udev/hwdb.bin', 'udev']]);
const INFO = `${DATABASE.slice(1)}/info/`;

/** The indexes of the chunks that a path belongs to; none for what no package of theirs owns. */
export async function chunksByPath(
  fs: RootFs,
  chunks: readonly PlanChunk[],
): Promise<(path: string) => readonly number[]> {
  const byPackage = new Map<string, number>();
  const largeOf = new Map<string, { readonly index: number; readonly from: number }>();
  const byPath = new Map<string, number[]>();
  for (const [index, chunk] of chunks.entries()) {
    const from = chunk.filesFrom;
    for (const name of chunk.packages) {
      if (from === undefined) byPackage.set(name, index);
      else largeOf.set(name, { index, from });
    }
    for (const path of chunk.paths ?? []) byPath.set(path, [index]);
  }
  for (const [path, owner] of MADE_FROM) {
    const chunk = byPackage.get(owner);
    if (chunk !== undefined) byPath.set(path, [chunk]);
  }
  const diverted = parseDiversions((await fs.readTextIfPresent(join(DATABASE, 'diversions'))) ?? '');
  const lists = (await fs.list(`/${INFO}`))
    .filter((name) => name.endsWith('.list'))
    .map((name) => ({ name, owner: packageOf(name) }))
    .sort((left, right) => (left.owner < right.owner ? -1 : 1));
  for (const { name, owner } of lists) {
    const whole = byPackage.get(owner);
    if (whole === undefined) continue;
    const large = largeOf.get(owner);
    for (const listed of (await fs.readText(`/${INFO}${name}`)).split('\n')) {
      const path = placeOf(listed, owner, diverted);
      const isApart = large !== undefined && (await fs.fileSize(`/${path}`)) >= large.from;
      const chunk = isApart ? large.index : whole;
      const known = byPath.get(path);
      if (known === undefined) byPath.set(path, [chunk]);
      else if (!known.includes(chunk)) known.push(chunk);
    }
  }
  return (path) => {
    if (path.startsWith(INFO)) {
      const chunk = byPackage.get(packageOf(path.slice(INFO.length)));
      return chunk === undefined ? [] : [chunk];
    }
    const origin = path.replace(MERGED, 'usr/$&').replace(UNCONFIGURED, '').replace(BYTECODE, '$1.py');
    return byPath.get(path) ?? byPath.get(origin) ?? [];
  };
}

/** `libc6` of `libc6:amd64.list`; a package's name may have dots. */
function packageOf(file: string): string {
  return file.slice(0, Math.max(0, file.lastIndexOf('.'))).replace(/:.*$/, '');
}

/** Where a file that a package lists is in the tree, relative to the root. */
function placeOf(listed: string, owner: string, diverted: ReadonlyMap<string, Diversion>): string {
  const diversion = diverted.get(listed);
  const path = diversion === undefined || diversion.by === owner ? listed : diversion.to;
  const relative = (kernelFileTarget(path) ?? path).slice(1);
  return relative.replace(MERGED, 'usr/$&');
}

interface Diversion {
  readonly to: string;
  /** The package whose own file stays where it is; `:` for none. */
  readonly by: string;
}

/** Three lines each: from, to, package. */
function parseDiversions(text: string): Map<string, Diversion> {
  const lines = text.split('\n');
  const diverted = new Map<string, Diversion>();
  for (let at = 0; at + 2 < lines.length; at += 3) {
    diverted.set(lines[at] ?? '', { to: lines[at + 1] ?? '', by: lines[at + 2] ?? '' });
  }
  return diverted;
}

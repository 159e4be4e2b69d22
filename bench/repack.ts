/**
 * A later version of packages: every program, library and firmware file in them differs, and the version says so.
 * The most that an update can change. The store remembers what it made of which.
 */
import { createHash } from 'node:crypto';
import { appendFile, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

import { digestOfJson, hexOf } from '../src/digest.ts';
import type { LockedPackage } from '../src/packages/package.ts';
import { run } from '../src/proc/run.ts';
import { syncDirectory, type Store } from '../src/store/store.ts';

const SUFFIX = '+bench1';
const RECORDS = 'repacked';
const RELATIONS = /^(?:Pre-Depends|Depends|Provides|Breaks|Conflicts|Replaces):/;
/** What is code or firmware; text that programs read stays as it is. */
const CHANGED_FILE = /\.(?:bin|ko)$|\.so(?:\.[\d.]+)?$/;

/**
 * Makes the later versions and puts them into the store.
 *
 * @returns one for each of `packages`, in order
 */
export async function repackAll(
  packages: readonly LockedPackage[],
  store: Store,
  signal: AbortSignal,
): Promise<LockedPackage[]> {
  const versions = new Set(packages.map(({ version }) => version));
  const repacked: LockedPackage[] = [];
  for (const file of packages) {
    const key = hexOf(digestOfJson([SUFFIX, file.sha256, [...versions].sort()]));
    const known = (await store.readRecord(RECORDS, key)) as Repacked | undefined;
    const isThere =
      known !== undefined && (await stat(store.packagePath(known.sha256)).catch(() => undefined));
    const made = isThere ? known : await repack(file, versions, store, signal);
    if (!isThere) await store.writeRecord(RECORDS, key, made);
    repacked.push({ ...file, ...made });
  }
  return repacked;
}

export type Repacked = Pick<LockedPackage, 'version' | 'sha256' | 'size' | 'filename'>;

async function repack(
  file: LockedPackage,
  versions: ReadonlySet<string>,
  store: Store,
  signal: AbortSignal,
): Promise<Repacked> {
  await using scratch = await store.scratch('repack');
  const tree = join(scratch.path, 'tree');
  await run(['dpkg-deb', '--raw-extract', store.packagePath(file.sha256), tree], { signal });
  const control = join(tree, 'DEBIAN/control');
  await writeFile(control, laterControl(await readFile(control, 'utf8'), versions));
  const changed = await changeFiles(tree);
  await mendSums(tree, changed);
  const built = join(scratch.path, 'package.deb');
  await run(['dpkg-deb', '--root-owner-group', '-Zxz', '-z1', '--build', tree, built], { signal });
  return await addPackage(built, file, `${file.version}${SUFFIX}`, store, signal);
}

/** Puts a package that was made of `file` into the store. */
export async function addPackage(
  built: string,
  file: LockedPackage,
  version: string,
  store: Store,
  signal: AbortSignal,
): Promise<Repacked> {
  const sha256 = await sha256Of(built);
  const target = store.packagePath(sha256);
  await run(['mkdir', '-p', dirname(target)], { signal });
  await rename(built, target);
  await syncDirectory(dirname(target));
  const name = `${file.name}_${version.replaceAll(':', '%3a')}_${file.architecture}.deb`;
  const filename = join(dirname(file.filename), name);
  return { version, sha256, size: (await stat(target)).size, filename };
}

/** The control file with the later version, also where one of the packages asks for exactly that of another. */
export function laterControl(control: string, versions: ReadonlySet<string>): string {
  let isRelation = false;
  return control
    .split('\n')
    .map((line) => {
      if (!line.startsWith(' ')) isRelation = RELATIONS.test(line);
      if (line.startsWith('Version:')) return `${line}${SUFFIX}`;
      if (!isRelation) return line;
      return line.replaceAll(/\(= ([^)]+)\)/g, (whole, version: string) =>
        versions.has(version) ? `(= ${version}${SUFFIX})` : whole,
      );
    })
    .join('\n');
}

/** What comes after the sections of an ELF file is read by nobody; the GPU's firmware is never run here. */
async function changeFiles(tree: string): Promise<string[]> {
  const changed: string[] = [];
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || path.startsWith(join(tree, 'DEBIAN/'))) continue;
    if (!CHANGED_FILE.test(entry.name) && !(await isElf(path))) continue;
    const times = await stat(path);
    await appendFile(path, SUFFIX);
    await run(['touch', '--date', `@${Math.floor(times.mtimeMs / 1000) + 86_400}`, path]);
    changed.push(path);
  }
  return changed;
}

async function isElf(path: string): Promise<boolean> {
  await using file = await open(path, 'r');
  const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
  return bytesRead === 4 && buffer.toString('latin1') === '\x7fELF';
}

async function mendSums(tree: string, changed: readonly string[]): Promise<void> {
  const path = join(tree, 'DEBIAN/md5sums');
  const sums = new Map<string, string>();
  for (const file of changed) {
    sums.set(
      relative(tree, file),
      createHash('md5')
        .update(await readFile(file))
        .digest('hex'),
    );
  }
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  const lines = text.split('\n').map((line) => {
    const sum = sums.get(line.slice(34));
    return sum === undefined ? line : `${sum}${line.slice(32)}`;
  });
  await writeFile(path, lines.join('\n'));
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await using file = await open(path, 'r');
  for await (const chunk of file.createReadStream({ autoClose: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Describes a directory tree, by lstat(2) and getfattr alone: what tests compare archives against. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { run } from '../../src/proc/run.ts';
import { getfattrArgv, parseGetfattr } from '../../src/tools/getfattr.ts';

export interface DescribedFile {
  readonly type: string;
  readonly mode: string;
  readonly owner: string;
  readonly mtime: number;
  readonly contents?: string;
  readonly target?: string;
  readonly rdev?: number;
  /** First path of the same inode, when there are several. */
  readonly linkOf?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** Key: path relative to `root`. The root itself is not described. */
export async function describeTree(root: string): Promise<Map<string, DescribedFile>> {
  const { stdout } = await run(getfattrArgv(root, '^(security.capability$|user\\.)'));
  const attributes = parseGetfattr(stdout);
  const firsts = new Map<bigint, string>();
  const described = new Map<string, DescribedFile>();
  for (const path of listPaths(root, '')) {
    const absolute = `${root}/${path}`;
    const stats = lstatSync(absolute, { bigint: true });
    const xattrs = attributes.get(absolute);
    const first = stats.isDirectory() || stats.nlink === 1n ? undefined : firsts.get(stats.ino);
    if (first === undefined) firsts.set(stats.ino, path);
    const kind = Number(stats.mode & 0o170000n);
    described.set(path, {
      type: kind.toString(8),
      mode: Number(stats.mode & 0o7777n).toString(8),
      owner: `${stats.uid}:${stats.gid}`,
      mtime: Number(stats.mtimeNs / 1_000_000_000n),
      ...(stats.isFile() && {
        contents: createHash('sha256').update(readFileSync(absolute)).digest('hex'),
      }),
      ...(stats.isSymbolicLink() && { target: readlinkSync(absolute) }),
      ...((stats.isCharacterDevice() || stats.isBlockDevice()) && { rdev: Number(stats.rdev) }),
      ...(first !== undefined && { linkOf: first }),
      ...(xattrs !== undefined && {
        xattrs: Object.fromEntries([...xattrs].map(([name, value]) => [name, value.toString('hex')])),
      }),
    });
  }
  return described;
}

/** Node's own recursive listing follows links to directories. */
function listPaths(root: string, prefix: string): string[] {
  return readdirSync(`${root}/${prefix}`, { withFileTypes: true })
    .sort((left, right) => Buffer.compare(Buffer.from(left.name), Buffer.from(right.name)))
    .flatMap((entry) => {
      const path = `${prefix}${entry.name}`;
      return entry.isDirectory() ? [path, ...listPaths(root, `${path}/`)] : [path];
    });
}

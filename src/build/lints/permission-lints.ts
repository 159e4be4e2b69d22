/** Who may do what in the image, and does anything in it lead out of it? */
import { dirname } from 'node:path';

import { readAccounts } from '../seal/accounts.ts';
import type { EntryWatcher, ImageEntry, ImageRoot } from './image-root.ts';
import { PRIVILEGED_FILES } from './setuid-expected.ts';

const octal = (mode: number): string => mode.toString(8).padStart(4, '0');

/** Setuid and setgid files are those expected, and have exactly the expected owner and mode. */
export async function watchSetuid({ fs }: ImageRoot): Promise<EntryWatcher> {
  const { users, groups } = await readAccounts(fs);
  const expected = new Map(PRIVILEGED_FILES.map((file) => [file.path, file]));
  const findings: string[] = [];
  return {
    entry: ({ path, stats }) => {
      if (!stats.isFile()) return;
      const mode = stats.mode & 0o7777;
      const file = expected.get(path);
      if (file === undefined && (mode & 0o6000) === 0) return;
      const owner = users.find(({ uid }) => uid === stats.uid)?.name ?? String(stats.uid);
      const group = groups.find(({ gid }) => gid === stats.gid)?.name ?? String(stats.gid);
      const has = `${octal(mode)} ${owner}:${group}`;
      const wants = file === undefined ? undefined : `${octal(file.mode)} ${file.owner}:${file.group}`;
      if (wants === undefined) findings.push(`/${path} (${has}) is not expected to run with other rights`);
      else if (wants !== has) findings.push(`/${path} is ${has} and must be ${wants}`);
    },
    findings: () => findings,
  };
}

/** Files that anybody may change, and directories where anybody may replace another's files. */
export function judgeWorldWritable({ path, stats }: ImageEntry): string | undefined {
  if (stats.isSymbolicLink() || (stats.mode & 0o002) === 0) return undefined;
  if (stats.isDirectory() && (stats.mode & 0o1000) !== 0) return undefined;
  return `/${path} is ${octal(stats.mode & 0o7777)}`;
}

/**
 * Links that climb out of the root, which is harmless once it is `/` and an attack on every tool that reads the
 * image before; and devices outside /dev, which give whoever owns them a disk. Absolute links stay inside.
 */
export function judgeLinks({ path, stats, target }: ImageEntry): string | undefined {
  if (stats.isCharacterDevice() || stats.isBlockDevice()) {
    return path.startsWith('dev/') ? undefined : `/${path} is a device`;
  }
  if (target === undefined || target.startsWith('/')) return undefined;
  let depth = dirname(path) === '.' ? 0 : dirname(path).split('/').length;
  for (const part of target.split('/')) {
    if (part === '..') depth -= 1;
    else if (part !== '' && part !== '.') depth += 1;
    if (depth < 0) return `/${path} leads out of the image: ${target}`;
  }
  return undefined;
}

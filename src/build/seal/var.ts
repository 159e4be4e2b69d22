/**
 * /var belongs to the node, not to the image: its directories and links are made there by systemd-tmpfiles(8) from
 * a fragment that lists what the packages left in /var.
 */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

import type { RootFs } from '../root-fs.ts';
import type { Accounts } from './accounts.ts';

/** Made by Ingot's own fragments, or state of package tools that an image which is never modified has no use for. */
const LEFT_OUT = new RegExp(
  '^/var/(?:home|srv|mnt|roothome|tmp|backups|cache/(?:apt|debconf|ldconfig|man)|log/apt' +
    '|lib/(?:dpkg|apt|ucf|pam|dracut|initramfs-tools|systemd/deb-systemd-[a-z-]+))(?:/|$)',
);

/** Paths that tmpfiles.d(5) fragments make already. */
export function pathsInTmpfiles(fragments: readonly string[]): Set<string> {
  const paths = new Set<string>();
  for (const line of fragments.flatMap((text) => text.split('\n'))) {
    const [type = '', path = ''] = line.trim().split(/\s+/);
    if (/^[dDvqQLC]/.test(type)) paths.add(path.replace(/\/$/, ''));
  }
  return paths;
}

/** Lines for every directory and link below /var that no fragment makes, parents before children. */
export async function varTmpfiles(
  fs: RootFs,
  accounts: Accounts,
  fragments: readonly string[],
): Promise<string> {
  const known = pathsInTmpfiles(fragments);
  const user = new Map(accounts.users.map((entry) => [entry.uid, entry.name]));
  const group = new Map(accounts.groups.map((entry) => [entry.gid, entry.name]));
  const lines: string[] = [];
  const visit = async (path: string): Promise<void> => {
    const real = join(fs.root, path); // never through a link: directories are descended into, links are not
    for (const name of (await readdir(real)).sort()) {
      const child = join(path, name);
      if (LEFT_OUT.test(child)) continue;
      const stat = await lstat(join(real, name));
      if (stat.isSymbolicLink() && !known.has(child)) {
        lines.push(`L ${escape(child)} - - - - ${escape(await readlink(join(real, name)))}\n`);
      } else if (stat.isDirectory()) {
        if (!known.has(child)) {
          const mode = (stat.mode & 0o7777).toString(8).padStart(4, '0');
          const owner = user.get(stat.uid) ?? String(stat.uid);
          lines.push(`d ${escape(child)} ${mode} ${owner} ${group.get(stat.gid) ?? String(stat.gid)} -\n`);
        }
        await visit(child);
      }
    }
  };
  if (await fs.exists('/var')) await visit('/var'); // a base for containers may have none
  return lines.join('');
}

/** tmpfiles.d(5): fields end at white space, `%` starts a specifier, and C escapes are known. */
function escape(path: string): string {
  return path
    .replaceAll('%', '%%')
    .replaceAll('\\', '\\\\')
    .replaceAll(' ', '\\x20')
    .replaceAll('\t', '\\t');
}

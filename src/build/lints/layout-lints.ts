/** Is the root laid out so that ostree and bootc can deploy it? */
import { readdirSync } from 'node:fs';
import { readlink } from 'node:fs/promises';

import { type ImageEntry, type ImageRoot, lstatIn } from './image-root.ts';

/** Mount points and directories that the kernel and systemd expect. */
export async function checkApiBaseDirectories({ fs }: ImageRoot): Promise<string[]> {
  const findings: string[] = [];
  for (const path of ['/dev', '/proc', '/run', '/sys', '/tmp', '/var']) {
    if ((await lstatIn(fs, path))?.isDirectory() !== true) findings.push(`${path} is no directory`);
  }
  return findings;
}

/** What a node keeps is reached through links into /var; ostree finds itself under /sysroot. */
const BASE_LINKS: Readonly<Record<string, string>> = {
  '/ostree': 'sysroot/ostree',
  '/home': 'var/home',
  '/root': 'var/roothome',
  '/srv': 'var/srv',
  '/mnt': 'var/mnt',
  '/media': 'run/media',
  '/bin': 'usr/bin',
  '/sbin': 'usr/sbin',
  '/lib': 'usr/lib',
};

export async function checkBaseImageRoot({ fs }: ImageRoot): Promise<string[]> {
  const findings: string[] = [];
  for (const path of ['/sysroot', '/boot', '/etc', '/usr', '/opt', '/usr/local']) {
    if ((await lstatIn(fs, path))?.isDirectory() !== true) findings.push(`${path} is no directory`);
  }
  for (const [path, expected] of Object.entries(BASE_LINKS)) {
    const isLink = (await lstatIn(fs, path))?.isSymbolicLink() === true;
    const target = isLink ? await readlink(await fs.resolve(path)) : undefined;
    if (target !== expected) findings.push(`${path} is ${target ?? 'no link'} and must be a link to ${expected}`);
  }
  if ((await fs.readTextIfPresent('/usr/lib/ostree/prepare-root.conf')) === undefined) {
    findings.push('/usr/lib/ostree/prepare-root.conf is missing');
  }
  return findings;
}

/** A deployment makes /usr/etc from /etc: an image has /etc alone. */
export async function checkEtcUsrEtc({ fs }: ImageRoot): Promise<string[]> {
  return (await lstatIn(fs, '/usr/etc')) === undefined ? [] : ['/usr/etc exists'];
}

export async function checkVarRun({ fs }: ImageRoot): Promise<string[]> {
  const stats = await lstatIn(fs, '/var/run');
  return stats === undefined || stats.isSymbolicLink() ? [] : ['/var/run is no link to /run'];
}

export function checkNonemptyBoot(image: ImageRoot): Promise<string[]> {
  return contentsOf(image, '/boot');
}

export async function checkNonemptyRunTmp(image: ImageRoot): Promise<string[]> {
  return [...(await contentsOf(image, '/run')), ...(await contentsOf(image, '/tmp'))];
}

/** Everything in a directory that must be empty. */
export async function contentsOf({ fs }: ImageRoot, path: string): Promise<string[]> {
  if ((await lstatIn(fs, path))?.isDirectory() !== true) return [];
  return readdirSync(await fs.resolve(path))
    .sort()
    .map((name) => `${path}/${name}`);
}

export function judgeUtf8({ path, isText }: ImageEntry): string | undefined {
  return isText ? undefined : `/${path} has a name or target that is not UTF-8`;
}

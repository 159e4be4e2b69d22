/** What makes a machine this machine has no place in an image; what makes an image this image has. */
import type { SealInput } from '../../plan/plan.ts';
import type { RootFs } from '../root-fs.ts';

/** Debris of installing, and secrets that every node must make for itself. Contents of /var are never archived. */
export const REMOVED = [
  '/etc/.pwd.lock',
  '/etc/passwd-',
  '/etc/group-',
  '/etc/shadow-',
  '/etc/gshadow-',
  '/etc/subuid-',
  '/etc/subgid-',
  '/etc/hostname',
  '/etc/apt/sources.list',
  '/etc/apt/sources.list.d',
  '/vmlinuz',
  '/vmlinuz.old',
  '/initrd.img',
  '/initrd.img.old',
  '/.dockerenv',
  '/usr/lib/sysimage/dpkg/available',
  '/usr/lib/sysimage/dpkg/lock',
  '/usr/lib/sysimage/dpkg/lock-frontend',
  '/usr/lib/sysimage/dpkg/triggers/Lock',
];

export async function removeIdentity(fs: RootFs): Promise<void> {
  for (const path of REMOVED) await fs.remove(path);
  for (const name of await fs.list('/etc/ssh')) {
    if (/^ssh_host_.*_key(?:\.pub)?$/.test(name)) await fs.remove(`/etc/ssh/${name}`);
  }
  for (const name of await fs.list('/usr/lib/sysimage/dpkg')) {
    if (name.endsWith('-old')) await fs.remove(`/usr/lib/sysimage/dpkg/${name}`);
  }
  for (const path of ['/boot', '/usr/lib/sysimage/dpkg/updates']) await fs.empty(path);
  // Empty, not absent: systemd fills it on the node, and does not take that boot for a first one.
  await fs.writeFile('/etc/machine-id', '', 0o444);
}

/** os-release(5): IMAGE_ID and IMAGE_VERSION. */
export function withImageIdentity(osRelease: string, input: Pick<SealInput, 'imageName' | 'version'>): string {
  const kept = osRelease.split('\n').filter((line) => line !== '' && !/^IMAGE_(?:ID|VERSION)=/.test(line));
  return [...kept, `IMAGE_ID="${input.imageName}"`, `IMAGE_VERSION="${input.version}"`, ''].join('\n');
}

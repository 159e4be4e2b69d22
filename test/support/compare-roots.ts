/** Holds an image against the same packages installed by apt-get: what differs, and what may. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { readInitramfs } from '../../src/build/lints/cpio.ts';
import { readAccounts, type Accounts } from '../../src/build/seal/accounts.ts';
import { kernelFileTarget } from '../../src/build/seal/boot.ts';
import { RootFs } from '../../src/build/root-fs.ts';
import { digestOf } from '../../src/digest.ts';
import { describeTree, type DescribedFile } from './tree.ts';

export interface RootDifference {
  readonly path: string;
  readonly what: 'in the image alone' | 'by apt-get alone' | 'differs';
  /** Of what differs: the properties, with both values. */
  readonly values?: string;
}

export interface ExpectedDifference {
  /** Stands in docs/sequential-install.md. */
  readonly why: string;
  readonly what: RootDifference['what'];
  readonly paths: RegExp;
}

/** All that may differ. Numbers of accounts and times of files are not compared: see `comparable`. */
export const EXPECTED: readonly ExpectedDifference[] = [
  {
    why: 'A kernel is started from the folder of its modules; /boot belongs to the node.',
    what: 'by apt-get alone',
    paths: /^(?:vmlinuz|initrd\.img)(?:\.old)?$/,
  },
  {
    why: 'Every node makes keys and an identity of its own.',
    what: 'by apt-get alone',
    paths: /^etc\/ssh\/ssh_host_[a-z0-9_]+_key(?:\.pub)?$/,
  },
  {
    why: 'Locks, and copies that tools keep of what they changed.',
    what: 'by apt-get alone',
    paths:
      /^(?:etc\/(?:\.pwd\.lock|(?:passwd|group|shadow|gshadow|subuid|subgid)-)|usr\/lib\/sysimage\/dpkg\/(?:lock|lock-frontend|triggers\/Lock|[a-z]+-old))$/,
  },
  {
    why: 'State of package tools and logs of installing: nothing is installed on a node.',
    what: 'by apt-get alone',
    paths:
      /^var\/(?:backups|cache\/(?:debconf|ldconfig|apt|man)|lib\/(?:ucf|pam|dracut|shells\.state|apt|initramfs-tools)|lib\/systemd\/deb-systemd-[a-z-]+|log\/(?:(?:alternatives|dpkg|bootstrap|fontconfig)\.log|apt|btmp|lastlog|wtmp))(?:\/|$)/,
  },
  {
    why: 'The node makes it at each boot, from what the image holds.',
    what: 'by apt-get alone',
    paths: /^var\/lib\/systemd\/catalog\/database$/,
  },
  {
    why: 'What the seal says of the image: its name, kernel arguments, health checks, units, accounts, /var and apt’s marks.',
    what: 'in the image alone',
    paths:
      /^(?:usr\/lib\/(?:bootc(?:\/kargs\.d(?:\/[^/]+\.toml)?)?|ingot(?:\/health\.json)?|systemd\/system-preset\/(?:10|99)-ingot\.preset|sysusers\.d\/90-ingot-accounts\.conf|sysimage\/apt(?:\/extended_states)?|tmpfiles\.d\/90-ingot-(?:apt|var)\.conf)|var\/lib\/apt(?:\/extended_states)?)$/,
  },
  {
    why: 'A node keeps its own files there, and finds the folders at its first boot.',
    what: 'in the image alone',
    paths: /^var\/(?:home|srv|mnt|roothome)$/,
  },
  {
    why: 'The image is named in it.',
    what: 'differs',
    paths: /^usr\/lib\/(?:os-release|modules\/[^/]+\/initramfs\.img!usr\/lib\/initrd-release)$/,
  },
  {
    why: 'The initramfs says how dracut was called.',
    what: 'differs',
    paths: /^usr\/lib\/modules\/[^/]+\/initramfs\.img!usr\/lib\/dracut\/build-parameter\.txt$/,
  },
  {
    why: 'The initramfs is dated by its kernel, so that nodes keep it from lock to lock.',
    what: 'differs',
    paths: /^usr\/lib\/modules\/[^/]+\/initramfs\.img!etc\/shadow$/,
  },
  {
    why: 'Packages make a file or link that systemd-tmpfiles makes a little differently on a node.',
    what: 'differs',
    paths: /^var\/(?:lock|run|lib\/dbus\/machine-id)$/,
  },
];

/** What may differ besides where there is Python. */
export const EXPECTED_WITH_PYTHON: readonly ExpectedDifference[] = [
  ...EXPECTED,
  {
    why: 'Bytecode says here that nobody need look whether it is current.',
    what: 'differs',
    paths: /\/__pycache__\/[^/]+\.pyc$/,
  },
  {
    why: 'A setting that a node may edit: its bytecode would hide that.',
    what: 'by apt-get alone',
    paths: /^usr\/lib\/python3\.\d+\/__pycache__\/sitecustomize\.cpython-\d+\.pyc$/,
  },
  {
    why: 'python3 notes that it was configured once: nothing is installed on a node.',
    what: 'by apt-get alone',
    paths: /^var\/lib\/python(?:\/|$)/,
  },
];

/** The differences that nothing in `expected` explains, and what explained none. */
export function unexplained(
  differences: readonly RootDifference[],
  expected: readonly ExpectedDifference[] = EXPECTED,
): { readonly differences: RootDifference[]; readonly idle: ExpectedDifference[] } {
  const explains = ({ what, paths }: ExpectedDifference, difference: RootDifference): boolean =>
    what === difference.what && paths.test(difference.path);
  return {
    differences: differences.filter((difference) => !expected.some((one) => explains(one, difference))),
    idle: expected.filter((one) => !differences.some((difference) => explains(one, difference))),
  };
}

/**
 * Every path that one root has and the other lacks, or whose type, mode, owner, contents, target, hard links or
 * extended attributes differ. An initramfs is compared file by file.
 */
export async function compareRoots(image: string, apt: string, release: string): Promise<RootDifference[]> {
  const ours = await comparable(image, release);
  const theirs = whereTheImageHasIt(await comparable(apt, release));
  return [...new Set([...ours.keys(), ...theirs.keys()])].sort().flatMap((path): RootDifference[] => {
    const [our, their] = [ours.get(path), theirs.get(path)];
    if (our === undefined) return [{ path, what: 'by apt-get alone' }];
    if (their === undefined) return [{ path, what: 'in the image alone' }];
    const values = [...new Set([...Object.keys(our), ...Object.keys(their)])].sort().flatMap((key) => {
      const [a, b] = [our, their].map((file) => JSON.stringify(file[key as keyof Comparable] ?? 'none'));
      return a === b ? [] : [`${key} ${a ?? ''}, by apt-get ${b ?? ''}`];
    });
    return values.length === 0 ? [] : [{ path, what: 'differs', values: values.join('; ') }];
  });
}

type Comparable = Omit<DescribedFile, 'mtime'>;

/** Files that hold numbers of accounts, by name with each number's name in its place. */
const ACCOUNTS = new Set(['etc/passwd', 'etc/group']);
/** Written anew when an account comes: the order of lines is the order in which they came. */
const SORTED = new Set([...ACCOUNTS, 'etc/shadow', 'etc/gshadow']);

/**
 * Without times, which archives clamp, and with names for owners: the numbers of accounts follow from their names in
 * an image, and from the order of installing with apt-get.
 */
async function comparable(root: string, release: string): Promise<Map<string, Comparable>> {
  const accounts = await readAccounts(new RootFs(root));
  const described = await describeTree(root);
  const found = new Map<string, Comparable>();
  for (const [path, { mtime: _mtime, ...file }] of described) {
    if (path === initramfsOf(release) || path === `boot/initrd.img-${release}`) {
      for (const [name, entry] of await initramfsFiles(join(root, path), release)) found.set(name, entry);
      continue;
    }
    const [uid = '', gid = ''] = file.owner.split(':');
    const owner = `${nameOf(accounts.users, 'uid', uid)}:${nameOf(accounts.groups, 'gid', gid)}`;
    const contents = SORTED.has(path) ? await accountLines(join(root, path), accounts) : file.contents;
    found.set(path, { ...file, owner, ...(contents !== undefined && { contents }) });
  }
  return found;
}

function nameOf<Key extends 'uid' | 'gid'>(
  entries: readonly ({ readonly name: string } & Readonly<Record<Key, number>>)[],
  key: Key,
  id: string,
): string {
  return entries.find((entry) => entry[key] === Number(id))?.name ?? id;
}

async function accountLines(path: string, { users, groups }: Accounts): Promise<string> {
  const isPasswd = path.endsWith('/passwd');
  const isGroup = path.endsWith('/group');
  const lines = (await readFile(path, 'utf8')).split('\n').map((line) => {
    const fields = line.split(':');
    const [, , id = '', gid = ''] = fields;
    if (isPasswd) fields.splice(2, 2, nameOf(users, 'uid', id), nameOf(groups, 'gid', gid));
    if (isGroup) fields.splice(2, 1, nameOf(groups, 'gid', id));
    return fields.join(':');
  });
  return lines.sort().join('\n');
}

/** The files in an initramfs, by the path that they have in an image's and `!` before their own. */
async function initramfsFiles(path: string, release: string): Promise<[string, Comparable][]> {
  const files: [string, Comparable][] = [];
  for await (const entry of readInitramfs(path, () => true)) {
    // Of large ones the size must do.
    const contents = entry.contents === undefined ? `${entry.size} bytes` : digestOf(entry.contents);
    const [type, mode] = [entry.mode & 0o170000, entry.mode & 0o7777].map((bits) => bits.toString(8));
    const name = `${initramfsOf(release)}!${entry.path}`;
    files.push([name, { type: type ?? '', mode: mode ?? '', owner: '', contents }]);
  }
  return files;
}

function initramfsOf(release: string): string {
  return `usr/lib/modules/${release}/initramfs.img`;
}

/** Kernel files from /boot at their place in an image. */
function whereTheImageHasIt(described: ReadonlyMap<string, Comparable>): Map<string, Comparable> {
  const moved = new Map<string, Comparable>();
  for (const [path, file] of described) {
    const target = kernelFileTarget(`/${path}`)?.slice(1);
    // Debian's newer kernel packages have the files beside the modules and link them to /boot.
    const { linkOf, ...alone } = file;
    const kept = linkOf?.startsWith('boot/') === true ? alone : file;
    if (target === undefined) moved.set(path, kept);
    else if (!described.has(target)) moved.set(target, kept);
  }
  return moved;
}

/**
 * Users and groups. Declared ones are made by systemd-sysusers(8) from a fragment that ships in the image; every
 * account that package scripts made gets a fragment too, so that the image explains its whole /etc/passwd.
 */
import { FindingsError, type Finding, type Location } from '../../errors.ts';
import type { Group, User } from '../../spec/node-image.ts';
import type { FileOwner, RootFs } from '../root-fs.ts';

export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly gecos: string;
  readonly home: string;
  readonly shell: string;
}

export interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** passwd(5): `name:password:uid:gid:gecos:home:shell`. */
export function parsePasswd(text: string): PasswdEntry[] {
  return records(text).map(([name = '', , uid, gid, gecos = '', home = '', shell = '']) => ({
    name,
    uid: Number(uid),
    gid: Number(gid),
    gecos,
    home,
    shell,
  }));
}

/** group(5): `name:password:gid:members`. */
export function parseGroup(text: string): GroupEntry[] {
  return records(text).map(([name = '', , gid, members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(',').filter(Boolean),
  }));
}

function records(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.includes(':'))
    .map((line) => line.split(':'));
}

export interface Accounts {
  readonly users: readonly PasswdEntry[];
  readonly groups: readonly GroupEntry[];
}

export async function readAccounts(fs: RootFs): Promise<Accounts> {
  return {
    users: parsePasswd((await fs.readTextIfPresent('/etc/passwd')) ?? ''),
    groups: parseGroup((await fs.readTextIfPresent('/etc/group')) ?? ''),
  };
}

/** @throws TypeError for a name that is not there; callers check first. */
export function ownerOf(accounts: Accounts, user: string, group: string): FileOwner {
  const uid = accounts.users.find((entry) => entry.name === user)?.uid;
  const gid = accounts.groups.find((entry) => entry.name === group)?.gid;
  if (uid === undefined || gid === undefined) throw new TypeError(`no account ${user}:${group}`);
  return { uid, gid };
}

const FIRST_UID = 1000;

/** Where the public keys of a user are in the image; sshd's AuthorizedKeysFile names it. */
export function authorizedKeysPath(user: string): string {
  return `/usr/lib/ingot/authorized_keys.d/${user}`;
}

/**
 * sysusers.d(5) lines for the declared accounts. Numbers that are left out are taken upwards from 1000 in the
 * order of the declaration, so that adding a user at the end moves nobody.
 *
 * @throws FindingsError for a group that neither the image nor the declaration has, and for a taken name or number.
 */
export function declaredSysusers(
  declared: { readonly users: readonly User[]; readonly groups: readonly Group[] },
  existing: Accounts,
  locate?: (path: readonly (string | number)[]) => Location,
): string {
  const findings: Finding[] = [];
  const problem = (message: string, key: 'users' | 'groups', entry: unknown): void => {
    const index = (declared[key] as readonly unknown[]).indexOf(entry);
    const location = locate?.([key, index]);
    findings.push({ code: 'SPEC_INVALID', severity: 'error', message, ...(location && { location }) });
  };
  const takenUids = new Map(existing.users.map((entry) => [entry.uid, entry.name]));
  const takenGids = new Map(existing.groups.map((entry) => [entry.gid, entry.name]));
  const groupNames = new Set(existing.groups.map((entry) => entry.name));
  const lines: string[] = [];
  for (const group of declared.groups) {
    const { name, gid } = group;
    const owner = gid === undefined ? undefined : takenGids.get(gid);
    if (owner !== undefined && owner !== name) problem(`group ${name}: GID ${gid ?? ''} is ${owner}'s in this image`, 'groups', group);
    if (!groupNames.has(name)) lines.push(`g ${name} ${gid ?? '-'}`);
    groupNames.add(name);
    if (gid !== undefined) takenGids.set(gid, name);
  }
  for (const { uid } of declared.users) if (uid !== undefined && !takenUids.has(uid)) takenUids.set(uid, '');
  let next = FIRST_UID;
  const allocate = (): number => {
    while (takenUids.has(next) || takenGids.has(next)) next += 1;
    return next++;
  };
  for (const user of declared.users) {
    if (existing.users.some((entry) => entry.name === user.name)) {
      problem(`user ${user.name} exists in the image already: a package makes it`, 'users', user);
      continue;
    }
    const owner = user.uid === undefined ? undefined : takenUids.get(user.uid);
    if (owner !== undefined && owner !== '') {
      problem(`user ${user.name}: UID ${user.uid ?? ''} is ${owner}'s in this image`, 'users', user);
      continue;
    }
    const uid = user.uid ?? allocate();
    takenUids.set(uid, user.name);
    const home = `/var/home/${user.name}`;
    if (!groupNames.has(user.name)) lines.push(`g ${user.name} ${takenGids.has(uid) ? '-' : uid}`);
    lines.push(`u ${user.name} ${uid}:${user.name} "${user.gecos.replaceAll('"', "'")}" ${home} ${user.shell}`);
    for (const group of user.groups) {
      if (groupNames.has(group)) lines.push(`m ${user.name} ${group}`);
      else {
        problem(`user ${user.name}: there is no group ${group} in this image; declare it in groups`, 'users', user);
      }
    }
  }
  if (findings.length > 0) throw new FindingsError(findings);
  return lines.map((line) => `${line}\n`).join('');
}

/** tmpfiles.d(5) lines that make the homes of declared users on the node, where /var/home lives. */
export function homeTmpfiles(users: readonly User[]): string {
  return users.map(({ name }) => `d /var/home/${name} 0700 ${name} ${name} -\n`).join('');
}

/** Names that the sysusers.d(5) fragments already explain: `u` lines make a group of the same name too. */
export function namesInSysusers(fragments: readonly string[]): { users: Set<string>; groups: Set<string> } {
  const users = new Set<string>();
  const groups = new Set<string>();
  for (const line of fragments.flatMap((text) => text.split('\n'))) {
    const [type = '', name = ''] = line.trim().split(/\s+/);
    if (type.startsWith('u')) users.add(name);
    if (type.startsWith('u') || type.startsWith('g')) groups.add(name);
  }
  return { users, groups };
}

/** Lines for the accounts that no fragment explains. */
export function remainingSysusers(accounts: Accounts, fragments: readonly string[]): string {
  const known = namesInSysusers(fragments);
  const groupLines = accounts.groups
    .filter(({ name }) => !known.groups.has(name))
    .map(({ name, gid }) => `g ${name} ${gid}\n`);
  const userLines = accounts.users
    .filter(({ name }) => !known.users.has(name))
    .map(({ name, uid, gid, gecos, home, shell }) => {
      const group = accounts.groups.find((entry) => entry.gid === gid)?.name ?? String(gid);
      return `u ${name} ${uid}:${group} "${gecos.replaceAll('"', "'")}" ${home || '-'} ${shell || '-'}\n`;
    });
  return [...groupLines, ...userLines].join('');
}

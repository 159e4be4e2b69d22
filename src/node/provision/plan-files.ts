/** From what a machine is told to the files that say it. Pure. */
import type { Provisioning, ProvisionedUser } from './provisioning.ts';

export interface PlannedFile {
  readonly path: string;
  readonly contents: Uint8Array;
  readonly mode: number;
  readonly user: string;
  readonly group: string;
  /** Goes when the next instance does not bring it again; what `files` brought stays. */
  readonly isOurs: boolean;
}

export interface Account {
  readonly name: string;
  readonly uid: number;
}

export const SYSUSERS_FILE = '/etc/sysusers.d/ingot-provision.conf';
export const TMPFILES_FILE = '/etc/tmpfiles.d/ingot-provision.conf';
export const HOSTNAME_FILE = '/etc/hostname';
const FIRST_UID = 1000;
const DEFAULT_SHELL = '/bin/bash';

/** Where sshd of an image looks for keys that are the machine's. */
export function machineKeysPath(user: string): string {
  return `/etc/ssh/authorized_keys.d/${user}`;
}

/** @param accounts that the machine has */
export function planFiles(provisioning: Provisioning, accounts: readonly Account[]): readonly PlannedFile[] {
  const { hostname, users, networks, files } = provisioning;
  const text = (path: string, contents: string, mode = 0o644): PlannedFile => ({
    path,
    contents: Buffer.from(contents),
    mode,
    user: 'root',
    group: 'root',
    isOurs: true,
  });
  const fresh = withNumbers(
    users.filter(({ name }) => !accounts.some((account) => account.name === name)),
    accounts,
  );
  const memberships = users.flatMap(({ name, groups }) => groups.map((group) => `m ${name} ${group}`));
  const sysusers = [...fresh.map(renderAccount), ...memberships];
  return [
    ...(sysusers.length === 0 ? [] : [text(SYSUSERS_FILE, `${sysusers.join('\n')}\n`)]),
    ...(fresh.length === 0 ? [] : [text(TMPFILES_FILE, fresh.map(({ name }) => renderHome(name)).join(''))]),
    ...(hostname === undefined ? [] : [text(HOSTNAME_FILE, `${hostname}\n`)]),
    ...users
      .filter(({ sshKeys }) => sshKeys.length > 0)
      .map(({ name, sshKeys }) => text(machineKeysPath(name), `${sshKeys.join('\n')}\n`)),
    ...Object.entries(networks).map(([name, contents]) => text(`/etc/systemd/network/${name}`, contents)),
    ...files.map((file) => ({ ...file, isOurs: false })),
  ];
}

type NumberedUser = ProvisionedUser & { readonly uid: number };

/** People's accounts begin at 1000: left to itself, systemd-sysusers takes numbers of services. */
function withNumbers(users: readonly ProvisionedUser[], accounts: readonly Account[]): NumberedUser[] {
  const taken = new Set([...accounts, ...users].map(({ uid }) => uid));
  let next = FIRST_UID;
  return users.map((user) => {
    if (user.uid !== undefined) return { ...user, uid: user.uid };
    while (taken.has(next)) next += 1;
    taken.add(next);
    return { ...user, uid: next };
  });
}

/** sysusers.d(5). Without a password nobody logs in but by a key. */
function renderAccount({ name, uid, gecos = '', shell = DEFAULT_SHELL }: NumberedUser): string {
  const quotedGecos = gecos.replaceAll('\\', '').replaceAll('"', '').replaceAll('%', '%%');
  return `u ${name} ${uid} "${quotedGecos}" /home/${name} ${shell}`;
}

/** tmpfiles.d(5). */
function renderHome(name: string): string {
  return `d /var/home/${name} 0700 ${name} ${name} -\n`;
}

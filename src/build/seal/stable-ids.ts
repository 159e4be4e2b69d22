/**
 * Numbers of the accounts that packages make. They take the next free one when they are installed, so one package
 * more would move those after it, and a node's files in /var would belong to somebody else after an update. Here each
 * account gets a number that follows from its name.
 *
 * Two names may ask for one number; the first by name gets it. With n accounts that is a chance of n in 900 for a new
 * one to meet another.
 */
import { lchown, lstat, readdir, chmod } from 'node:fs/promises';
import { join } from 'node:path';

import { digestOf, hexOf } from '../../digest.ts';
import { run } from '../../proc/run.ts';
import { getfattrArgv, parseGetfattr } from '../../tools/getfattr.ts';
import { setfattrArgv } from '../../tools/setfattr.ts';
import type { RootFs } from '../root-fs.ts';
import { parseGroup, parsePasswd, type Accounts } from './accounts.ts';

/** What adduser(8) and systemd-sysusers(8) give to system accounts that ask for no number. */
const FIRST = 100;
const LAST = 999;
const CAPABILITY = 'security.capability';

/** From the number that an account has to the one that it gets; those that stay are not in it. */
export interface IdChanges {
  readonly uids: ReadonlyMap<number, number>;
  readonly gids: ReadonlyMap<number, number>;
}

/**
 * Pure: new numbers for the system accounts that are in `after` and not in `before`.
 *
 * @param fixed names whose number a sysusers.d(5) fragment says
 */
export function stableIds(before: Accounts, after: Accounts, fixed: ReadonlySet<string>): IdChanges {
  const isNew = (names: ReadonlySet<string>, name: string, id: number): boolean =>
    !names.has(name) && !fixed.has(name) && id >= FIRST && id <= LAST;
  const oldUsers = new Set(before.users.map(({ name }) => name));
  const oldGroups = new Set(before.groups.map(({ name }) => name));
  const users = after.users.filter(({ name, uid }) => isNew(oldUsers, name, uid));
  const groups = after.groups.filter(({ name, gid }) => isNew(oldGroups, name, gid));
  const moving = { users: new Set(users), groups: new Set(groups) };
  const taken = new Set([
    ...after.users.filter((user) => !moving.users.has(user)).map(({ uid }) => uid),
    ...after.groups.filter((group) => !moving.groups.has(group)).map(({ gid }) => gid),
  ]);
  // A user and the group of its name have one number.
  const numbers = new Map<string, number>();
  for (const name of [...new Set([...users, ...groups].map((account) => account.name))].sort()) {
    let id = wanted(name);
    while (taken.has(id)) id = id === LAST ? FIRST : id + 1;
    taken.add(id);
    numbers.set(name, id);
  }
  const to = (name: string): number => numbers.get(name) ?? FIRST;
  return {
    uids: new Map(users.map(({ name, uid }) => [uid, to(name)])),
    gids: new Map(groups.map(({ name, gid }) => [gid, to(name)])),
  };
}

function wanted(name: string): number {
  return FIRST + (Number.parseInt(hexOf(digestOf(name)).slice(0, 12), 16) % (LAST - FIRST + 1));
}

/** Names with a number of their own in sysusers.d(5) fragments. */
export function fixedNames(fragments: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const line of fragments.flatMap((text) => text.split('\n'))) {
    const [type = '', name = '', id = ''] = line.trim().split(/\s+/);
    if (/^[ug]!?$/.test(type) && /^\d/.test(id)) names.add(name);
  }
  return names;
}

/**
 * Renumbers what was made since `before`, in the account files and on every file below `written`.
 *
 * @param written where what changed in the root is found: the root itself, or the upper directory of its overlay
 */
export async function settleIds(
  fs: RootFs,
  written: string,
  before: Accounts,
  signal?: AbortSignal,
): Promise<void> {
  const passwd = (await fs.readTextIfPresent('/etc/passwd')) ?? '';
  const group = (await fs.readTextIfPresent('/etc/group')) ?? '';
  const folder = '/usr/lib/sysusers.d';
  const fragments = await Promise.all((await fs.list(folder)).map((name) => fs.readText(`${folder}/${name}`)));
  const after = { users: parsePasswd(passwd), groups: parseGroup(group) };
  const changes = stableIds(before, after, fixedNames(fragments));
  if (changes.uids.size + changes.gids.size === 0) return;
  await fs.writeFile('/etc/passwd', renumber(passwd, [changes.uids, changes.gids]));
  await fs.writeFile('/etc/group', renumber(group, [changes.gids]));
  const { stdout } = await run(getfattrArgv(written, '^security\\.capability$'), { signal });
  const capabilities = parseGetfattr(stdout);
  const visit = async (path: string): Promise<void> => {
    signal?.throwIfAborted();
    for (const entry of await readdir(join(written, path), { withFileTypes: true })) {
      const child = join(path, entry.name);
      const stats = await lstat(join(written, child));
      const [uid, gid] = [changes.uids.get(stats.uid), changes.gids.get(stats.gid)];
      if (uid !== undefined || gid !== undefined) {
        const real = join(fs.root, child); // never through a link: directories are descended into, links are not
        await lchown(real, uid ?? stats.uid, gid ?? stats.gid);
        // The kernel takes these away with the owner.
        if ((stats.mode & 0o6000) !== 0 && !stats.isSymbolicLink()) await chmod(real, stats.mode & 0o7777);
        const capability = capabilities.get(join(written, child))?.get(CAPABILITY);
        if (capability !== undefined) await run(setfattrArgv(CAPABILITY, capability, real), { signal });
      }
      if (entry.isDirectory()) await visit(child);
    }
  };
  await visit('/');
}

/** passwd(5) and group(5): the third field, and in passwd the fourth. */
function renumber(text: string, columns: readonly ReadonlyMap<number, number>[]): string {
  return text
    .split('\n')
    .map((line) => {
      const fields = line.split(':');
      for (const [index, ids] of columns.entries()) {
        const id = ids.get(Number(fields[2 + index]));
        if (id !== undefined) fields[2 + index] = String(id);
      }
      return fields.join(':');
    })
    .join('\n');
}

/**
 * Applies provisioning data once for each instance: everything is looked at before the first file is written, each file is
 * written whole, and that it was applied is noted last. A machine that loses power in between applies all of it again.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

import { parseGroup, parsePasswd } from '../../build/seal/accounts.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import { writeFileAtomically } from '../../store/store.ts';
import type { ProvisioningSource } from './find-source.ts';
import { HOSTNAME_FILE, planFiles, SYSUSERS_FILE, TMPFILES_FILE, type PlannedFile } from './plan-files.ts';
import { type FileOwner, removeMachineFile, requireWritable, writeMachineFile } from './write-files.ts';

export interface ApplyOptions {
  readonly source: ProvisioningSource;
  /** `/var/lib/ingot/provision` */
  readonly stateFolder: string;
  readonly now: () => Date;
  readonly signal?: AbortSignal | undefined;
}

export interface Applied {
  readonly state: 'applied' | 'already';
  readonly instance: string;
  readonly files: readonly string[];
}

const State = z.object({
  schemaVersion: z.literal(1),
  instance: z.string(),
  source: z.string(),
  at: z.string(),
  /** What goes when the next instance does not bring it. */
  ours: z.array(z.string()),
});
export type ProvisionedState = z.infer<typeof State>;

/** What was applied last, or undefined. A note that cannot be read is none: then it is applied again. */
export async function readProvisionedState(stateFolder: string): Promise<ProvisionedState | undefined> {
  try {
    return State.safeParse(JSON.parse(await readFile(join(stateFolder, 'applied.json'), 'utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** @throws IngotError PROVISION_INVALID before anything is written; TOOL_FAILED, DISK_FULL, INTERRUPTED */
export async function applyProvisioning(options: ApplyOptions): Promise<Applied> {
  const { source, stateFolder, now, signal } = options;
  const { provisioning } = source.parsed;
  const { instance } = provisioning;
  const before = await readProvisionedState(stateFolder);
  if (before?.instance === instance) {
    await forgetSeed(source);
    return { state: 'already', instance, files: [] };
  }
  const files = planFiles(provisioning, await accountsOf('passwd'));
  const fresh = new Set(provisioning.users.map(({ name }) => name));
  await requireAll(files, fresh);

  const [accounts, others] = [files.filter(isAccountFile), files.filter((file) => !isAccountFile(file))];
  for (const file of accounts) await write(file);
  if (accounts.some(({ path }) => path === SYSUSERS_FILE))
    await run(['systemd-sysusers', SYSUSERS_FILE], { signal });
  if (accounts.some(({ path }) => path === TMPFILES_FILE)) {
    await run(['systemd-tmpfiles', '--create', TMPFILES_FILE], { signal });
  }
  for (const file of others) await write(file);
  const ours = files.filter(({ isOurs }) => isOurs).map(({ path }) => path);
  for (const path of before?.ours ?? []) if (!ours.includes(path)) await removeMachineFile('', path);
  await useHostname(files);
  const state = { schemaVersion: 1, instance, source: source.name, at: now().toISOString(), ours } as const;
  await writeFileAtomically(join(stateFolder, 'applied.json'), `${JSON.stringify(state, null, 2)}\n`);
  await forgetSeed(source);
  return { state: 'applied', instance, files: files.map(({ path }) => path) };
}

function isAccountFile({ path }: PlannedFile): boolean {
  return path === SYSUSERS_FILE || path === TMPFILES_FILE;
}

/** All that can be known to be wrong, at once. */
async function requireAll(files: readonly PlannedFile[], fresh: ReadonlySet<string>): Promise<void> {
  const [users, groups] = [await accountsOf('passwd'), await accountsOf('group')];
  const complaints: string[] = [];
  for (const { path, user, group } of files) {
    try {
      await requireWritable('', path);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      complaints.push(error.message);
    }
    for (const [kind, name, known] of [
      ['user', user, users],
      ['group', group, groups],
    ] as const) {
      if (fresh.has(name) || known.some((account) => account.name === name)) continue;
      complaints.push(`${path} is not written: there is no ${kind} ${name}`);
    }
  }
  if (complaints.length > 0) throw new IngotError('PROVISION_INVALID', complaints.join('\n'));
}

async function write({ path, contents, mode, user, group }: PlannedFile): Promise<void> {
  await writeMachineFile('', { path, contents, mode, ...(await ownerOf(user, group)) });
}

async function ownerOf(user: string, group: string): Promise<FileOwner> {
  const uid = (await accountsOf('passwd')).find(({ name }) => name === user)?.uid;
  const gid = (await accountsOf('group')).find(({ name }) => name === group)?.uid;
  if (uid === undefined || gid === undefined) {
    throw new IngotError('PROVISION_INVALID', `there is no account ${user}:${group}`);
  }
  return { uid, gid };
}

/** Names with their numbers. */
async function accountsOf(
  file: 'passwd' | 'group',
): Promise<{ readonly name: string; readonly uid: number }[]> {
  const text = await readFile(`/etc/${file}`, 'utf8');
  return file === 'passwd'
    ? parsePasswd(text)
    : parseGroup(text).map(({ name, gid }) => ({ name, uid: gid }));
}

/** The file counts from the next start on; this one has its name now. */
async function useHostname(files: readonly PlannedFile[]): Promise<void> {
  const file = files.find(({ path }) => path === HOSTNAME_FILE);
  if (file === undefined) return;
  try {
    await writeFile('/proc/sys/kernel/hostname', file.contents);
  } catch (error) {
    // Where the kernel's settings are read-only the next start has it.
    if (!['EROFS', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/** It may hold secrets, and has served. */
async function forgetSeed({ seed }: ProvisioningSource): Promise<void> {
  if (seed !== undefined) await rm(seed, { force: true });
}

/**
 * The seal over an image that is not ours: what was added is configured, accounts, units, files and kernel arguments
 * are put beside what the image has of them, and nothing else of it is changed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import { allowServices, configurePending, forbidServices } from '../debian/bootstrap.ts';
import { withoutCompiling } from '../debian/bytecode.ts';
import { DATABASE, loadDatabase, writeDatabase } from '../debian/database.ts';
import type { RpmInput } from '../../plan/plan.ts';
import { RootFs } from '../root-fs.ts';
import { sealRpmDatabase } from '../rpm/install-tree.ts';
import { runInSandbox } from '../sandbox.ts';
import { readAccounts, remainingSysusers } from '../seal/accounts.ts';
import { addAptMarks } from '../seal/apt-marks.ts';
import { kernelArgumentsToml, makeModuleIndexAndInitramfs } from '../seal/boot.ts';
import { removeIdentity, withImageIdentity } from '../seal/identity.ts';
import {
  HEALTH_PATH,
  makeAccounts,
  refuseStaticUnits,
  refuseUnknownUnits,
  type SealContext,
  writeDeclaredFiles,
} from '../seal/seal.ts';
import { settleIds } from '../seal/stable-ids.ts';
import { listUnits, unitArgvs, unitPresets } from '../seal/units.ts';
import { varTmpfiles } from '../seal/var.ts';

export interface SealOnImageOptions extends SealContext {
  /** Root of the image that is built on. */
  readonly base: string;
  /** Roots of the layers that were added. */
  readonly layers: readonly string[];
  /** Where rpm packages were added. */
  readonly rpm?: RpmInput | undefined;
}

/** What an initramfs is made from. */
const IN_INITRAMFS = [
  'usr/lib/modules',
  'usr/lib/dracut',
  'etc/dracut.conf.d',
  'usr/lib/modprobe.d',
  'etc/modprobe.d',
  'usr/lib/ostree',
];

/** Works on the mounted stack, through `fs`. */
export async function sealOnImage(fs: RootFs, options: SealOnImageOptions): Promise<void> {
  const { input, sandbox, signal } = options;
  await requirePrograms(fs, options);
  if (input.family === 'debian') {
    await configurePackages(fs, options);
    await addAptMarks(fs, new RootFs(options.base), input);
  }
  if (options.rpm !== undefined) await sealRpmDatabase(fs, options.rpm);
  refuseUnknownUnits(options, await listUnits(fs));
  await makeAccounts(fs, options);
  await writeDeclaredFiles(fs, options);
  await settleUnits(fs, options);
  await writeFacts(fs, options);
  if (input.kernelRelease !== '' && changesInitramfs(options)) {
    await makeModuleIndexAndInitramfs(fs, input.kernelRelease, sandbox, options);
  }
  await removeIdentity(fs);
  if (input.hostname !== undefined) await fs.writeFile('/etc/hostname', `${input.hostname}\n`);
  if (await fs.exists('/usr/sbin/ldconfig')) await runInSandbox(['ldconfig'], sandbox, { signal });
  await explainState(fs);
  for (const path of ['/var', '/run', '/tmp']) await fs.empty(path);
}

/** @throws IngotError BUILD_FAILED for accounts or units on an image without systemd */
async function requirePrograms(fs: RootFs, { input }: SealOnImageOptions): Promise<void> {
  const { users, groups, units } = input;
  const wanted = [
    { keys: 'users and groups', asked: users.length + groups.length > 0, program: '/usr/bin/systemd-sysusers' },
    { keys: 'units', asked: units.length > 0, program: '/usr/bin/systemctl' },
  ];
  for (const { keys, asked, program } of wanted) {
    if (!asked || (await fs.exists(program))) continue;
    throw new IngotError('BUILD_FAILED', `the base has no ${program}, which ${keys} take`, {
      hint: `take a base with systemd, or leave ${keys} out`,
    });
  }
}

async function configurePackages(fs: RootFs, options: SealOnImageOptions): Promise<void> {
  // The layers leave these files to the seal: here they are as the last layer left them.
  await writeDatabase(fs, await loadDatabase(fs, 'seal'));
  if (!options.layers.some((layer) => existsSync(join(layer, DATABASE, 'status')))) return;
  await forbidServices(fs);
  const accounts = await readAccounts(fs);
  await withoutCompiling(fs, options.sandbox, options, () => configurePending(options.sandbox, options));
  await allowServices(fs);
  await settleIds(fs, options.written, accounts, options.signal);
}

function changesInitramfs({ layers, files }: SealOnImageOptions): boolean {
  return IN_INITRAMFS.some(
    (path) =>
      layers.some((layer) => existsSync(join(layer, path))) ||
      files.some((file) => file.path.startsWith(`/${path}/`)),
  );
}

/** The image's own units stay as they are: what is said of units is said before the image's own presets. */
async function settleUnits(fs: RootFs, options: SealOnImageOptions): Promise<void> {
  const { units } = options.input;
  if (units.length === 0) return;
  for (const unit of units) {
    if (unit.content !== undefined) await fs.writeFile(`/usr/lib/systemd/system/${unit.name}`, unit.content);
  }
  for (const argv of unitArgvs(units)) await runInSandbox(argv, options.sandbox, { signal: options.signal });
  await refuseStaticUnits(options);
  await addLines(fs, '/usr/lib/systemd/system-preset/10-ingot.preset', unitPresets(units), 'first');
}

async function writeFacts(fs: RootFs, { input }: SealOnImageOptions): Promise<void> {
  const { imageName, kernelArguments, health } = input;
  for (const { origin, values } of kernelArguments) {
    // Its own name: the image may have fragments of the same origin.
    await fs.writeFile(`/usr/lib/bootc/kargs.d/90-${imageName}-${origin}.toml`, kernelArgumentsToml(values));
  }
  await fs.writeFile(HEALTH_PATH, `${JSON.stringify(await withOwnHealth(fs, health), null, 2)}\n`);
  const osRelease = (await fs.readTextIfPresent('/usr/lib/os-release')) ?? '';
  await fs.writeFile('/usr/lib/os-release', withImageIdentity(osRelease, input));
}

/** The image's own checks, with those that take the place of one of its name. */
async function withOwnHealth(
  fs: RootFs,
  health: SealOnImageOptions['input']['health'],
): Promise<readonly unknown[]> {
  const own: unknown = JSON.parse((await fs.readTextIfPresent(HEALTH_PATH)) ?? '[]');
  const names = new Set(health.map(({ name }) => name));
  const kept = (Array.isArray(own) ? (own as readonly unknown[]) : []).filter(
    (check) =>
      check !== null && typeof check === 'object' && 'name' in check && !names.has(String(check.name)),
  );
  return [...kept, ...health];
}

/** Fragments for what was added, after those that the image has. */
async function explainState(fs: RootFs): Promise<void> {
  const accounts = await readAccounts(fs);
  const read = async (folder: string): Promise<string[]> =>
    Promise.all((await fs.list(folder)).map((name) => fs.readText(`${folder}/${name}`)));
  const sysusers = remainingSysusers(accounts, await read('/usr/lib/sysusers.d'));
  await addLines(fs, '/usr/lib/sysusers.d/90-ingot-accounts.conf', sysusers, 'last');
  const tmpfiles = await varTmpfiles(fs, accounts, await read('/usr/lib/tmpfiles.d'));
  await addLines(fs, '/usr/lib/tmpfiles.d/90-ingot-var.conf', tmpfiles, 'last');
}

async function addLines(fs: RootFs, path: string, lines: string, where: 'first' | 'last'): Promise<void> {
  if (lines === '') return;
  const own = (await fs.readTextIfPresent(path)) ?? '';
  await fs.writeFile(path, where === 'first' ? lines + own : own + lines);
}

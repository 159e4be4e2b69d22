/**
 * The seal: what several layers touch together is computed once over the whole stack, after dpkg has configured
 * it: database, linker cache, module index, initramfs, accounts, units, /var, identity.
 */
import type { Location } from '../../errors.ts';
import type { PlannedFile, SealInput } from '../../plan/plan.ts';
import type { Reporter } from '../../report/events.ts';
import { nearest } from '../../spec/suggest.ts';
import type { Store } from '../../store/store.ts';
import { allowServices, configurePending, forbidServices } from '../debian/bootstrap.ts';
import { withoutCompiling } from '../debian/bytecode.ts';
import { mergeDatabases, writeDatabase, type DpkgDatabase } from '../debian/database.ts';
import { findInfluence } from '../initramfs/influence.ts';
import { writePlannedFile } from '../planned-files.ts';
import { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import {
  authorizedKeysPath,
  declaredSysusers,
  homeTmpfiles,
  readAccounts,
  remainingSysusers,
} from './accounts.ts';
import { writeAptMarks } from './apt-marks.ts';
import { kernelArgumentsToml, makeModuleIndexAndInitramfs, requireKernel } from './boot.ts';
import { removeIdentity, withImageIdentity } from './identity.ts';
import { settleIds } from './stable-ids.ts';
import { enabledUnits, listUnits, missingUnits, refuse, staticUnits, unitArgvs, unitPresets } from './units.ts';
import { varTmpfiles } from './var.ts';

/** What every seal takes, whatever it is over. */
export interface SealContext {
  readonly input: SealInput;
  readonly files: readonly PlannedFile[];
  readonly sandbox: SandboxOptions;
  readonly store: Store;
  /** Where the files are that the seal writes: the overlay's upper directory. */
  readonly written: string;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  readonly scriptSilenceMs?: number | undefined;
  /** The place of `path` in the declaration, for findings. */
  readonly locate?: ((path: readonly (string | number)[]) => Location) | undefined;
}

export interface SealOptions extends SealContext {
  readonly baseDatabase: DpkgDatabase;
  readonly layerDatabases: readonly DpkgDatabase[];
  /** When there is a module index and an initramfs already. */
  readonly initramfs?: MadeInitramfs | undefined;
}

export interface MadeInitramfs {
  /** The tree that brings both. */
  readonly root: string;
  /** Layers that they were not made from. */
  readonly beside: readonly { readonly name: string; readonly root: string }[];
}

/** Where the image's own health checks are, as JSON: `[{name, run, timeoutSeconds}]`. */
export const HEALTH_PATH = '/usr/lib/ingot/health.json';

/** Works on the mounted stack, through `fs`. */
export async function sealRoot(fs: RootFs, options: SealOptions): Promise<void> {
  const { input, sandbox } = options;
  await writeDatabase(fs, mergeDatabases(options.baseDatabase, options.layerDatabases));
  await forbidServices(fs);
  const accounts = await readAccounts(fs);
  await withoutCompiling(fs, sandbox, options, () => configurePending(sandbox, options));
  await allowServices(fs);
  await settleIds(fs, options.written, accounts, options.signal);

  refuseUnknownUnits(options, await listUnits(fs));
  await makeAccounts(fs, options);
  await writeDeclaredFiles(fs, options);
  await settleUnits(fs, options);
  await writeFacts(fs, input);
  await writeAptMarks(fs, input.automatic ?? []);
  await settleInitramfs(fs, options);
  await removeIdentity(fs);
  if (input.hostname !== undefined) await fs.writeFile('/etc/hostname', `${input.hostname}\n`);
  await runInSandbox(['ldconfig'], sandbox, { signal: options.signal });
  await explainState(fs);
  // What packages left there is explained above and made anew on the node; no layer carries it.
  for (const path of ['/var', '/run', '/tmp']) await fs.empty(path);
}

/** Makes module index and initramfs, unless those that are there are what would be made. */
async function settleInitramfs(fs: RootFs, options: SealOptions): Promise<void> {
  const { input, initramfs, written, reporter, sandbox } = options;
  if (initramfs !== undefined) {
    await requireKernel(fs, input.kernelRelease);
    const influence = await findInfluence(fs, initramfs.beside, written);
    if (influence === undefined) return;
    const { layer, path } = influence;
    reporter.info(`module index and initramfs are made over the whole image: ${layer} brings /${path}`);
    const folder = `/usr/lib/modules/${input.kernelRelease}`;
    for (const name of await new RootFs(initramfs.root).list(folder)) await fs.remove(`${folder}/${name}`);
  }
  await makeModuleIndexAndInitramfs(fs, input.kernelRelease, sandbox, options);
}

export function refuseUnknownUnits(options: SealContext, available: ReadonlySet<string>): void {
  const { locate } = options;
  refuse(
    missingUnits(
      options.input.units,
      available,
      nearest,
      locate === undefined ? undefined : (index) => locate(['units', index, 'name']),
    ),
  );
}

export async function makeAccounts(fs: RootFs, options: SealContext): Promise<void> {
  const { users, groups } = options.input;
  const lines = declaredSysusers({ users, groups }, await readAccounts(fs), options.locate);
  if (lines === '') return;
  await fs.writeFile('/usr/lib/sysusers.d/50-ingot-declared.conf', lines);
  await runInSandbox(['systemd-sysusers', '50-ingot-declared.conf'], options.sandbox, {
    signal: options.signal,
  });
  await fs.writeFile('/usr/lib/tmpfiles.d/50-ingot-homes.conf', homeTmpfiles(users));
  for (const { name, sshKeys } of users) {
    if (sshKeys.length > 0) await fs.writeFile(authorizedKeysPath(name), sshKeys.map((key) => `${key}\n`).join(''));
  }
}

export async function writeDeclaredFiles(fs: RootFs, options: SealContext): Promise<void> {
  const accounts = await readAccounts(fs);
  for (const [index, file] of options.files.entries()) {
    const known =
      'link' in file ||
      (accounts.users.some(({ name }) => name === file.user) &&
        accounts.groups.some(({ name }) => name === file.group));
    if (!known) {
      const location = options.locate?.(['files', index]);
      refuse([
        {
          code: 'SPEC_INVALID',
          severity: 'error',
          message: `${file.path}: there is no ${file.user}:${file.group} in this image`,
          ...(location !== undefined && { location }),
        },
      ]);
    }
    await writePlannedFile(fs, file, accounts, options.store);
  }
}

async function settleUnits(fs: RootFs, options: SealOptions): Promise<void> {
  const { units } = options.input;
  for (const unit of units) {
    if (unit.content !== undefined) await fs.writeFile(`/usr/lib/systemd/system/${unit.name}`, unit.content);
  }
  for (const argv of unitArgvs(units)) await runInSandbox(argv, options.sandbox, { signal: options.signal });
  await refuseStaticUnits(options);
  await fs.writeFile('/usr/lib/systemd/system-preset/10-ingot.preset', unitPresets(units));
  // Debian presets everything to enabled. What is enabled in the image is what runs; no boot adds to it.
  await fs.writeFile('/usr/lib/systemd/system-preset/99-ingot.preset', 'disable *\n');
}

export async function refuseStaticUnits({ input, sandbox, signal, locate }: SealContext): Promise<void> {
  const names = enabledUnits(input.units).map(({ name }) => name);
  if (names.length === 0) return;
  const { stdout } = await runInSandbox(['systemctl', '--root=/', 'is-enabled', ...names], sandbox, {
    signal,
    okExitCodes: [0, 1], // 1: none of them is
  });
  const at = locate === undefined ? undefined : (index: number): Location => locate(['units', index, 'enabled']);
  refuse(staticUnits(input.units, stdout.split('\n'), at));
}

async function writeFacts(fs: RootFs, input: SealInput): Promise<void> {
  for (const [index, { origin, values }] of input.kernelArguments.entries()) {
    const name = `${String((index + 1) * 10).padStart(2, '0')}-${origin}.toml`;
    await fs.writeFile(`/usr/lib/bootc/kargs.d/${name}`, kernelArgumentsToml(values));
  }
  await fs.writeFile(HEALTH_PATH, `${JSON.stringify(input.health, null, 2)}\n`);
  const osRelease = await fs.readText('/usr/lib/os-release');
  await fs.writeFile('/usr/lib/os-release', withImageIdentity(osRelease, input));
  if (await fs.exists('/usr/lib/systemd/systemd-resolved')) {
    await fs.link('/etc/resolv.conf', '../run/systemd/resolve/stub-resolv.conf');
  }
}

/** Fragments from which a node makes what the image does not hold. */
async function explainState(fs: RootFs): Promise<void> {
  const accounts = await readAccounts(fs);
  const read = async (folder: string): Promise<string[]> =>
    Promise.all((await fs.list(folder)).map((name) => fs.readText(`${folder}/${name}`)));
  const sysusers = remainingSysusers(accounts, await read('/usr/lib/sysusers.d'));
  await fs.writeFile('/usr/lib/sysusers.d/90-ingot-accounts.conf', sysusers);
  const tmpfiles = await varTmpfiles(fs, accounts, await read('/usr/lib/tmpfiles.d'));
  await fs.writeFile('/usr/lib/tmpfiles.d/90-ingot-var.conf', tmpfiles);
}

/** Unpacks packages into a root, without configuring them. */
import type { LockedPackage } from '../../packages/package.ts';
import type { Store } from '../../store/store.ts';
import { dpkgUnpackArgv } from '../../tools/dpkg.ts';
import type { GrowingArchives } from '../archive/growing-archives.ts';
import type { RootFs } from '../root-fs.ts';
import type { SandboxOptions } from '../sandbox.ts';
import { packageInside } from './bootstrap.ts';
import { runDpkg, type DpkgOptions } from './run-dpkg.ts';
import { choosePackages } from './stand-in-choice.ts';
import { StandIns } from './stand-ins.ts';

/** dpkg is done with a smaller package before its stand-in were made. */
const LARGE_PACKAGE_BYTES = 8 * 1024 * 1024;

export interface UnpackOptions extends DpkgOptions {
  readonly store: Store;
  /** Bytes of package files from which they get stand-ins; Infinity for none. */
  readonly standInsFrom?: number | undefined;
  /** Makes archives of packages with stand-ins while they are unpacked. */
  readonly growing?: GrowingArchives | undefined;
}

/**
 * Triggers wait for the seal.
 *
 * @param fs the root, which `sandbox` runs programs in
 * @throws IngotError as runDpkg does; DisplacedFile when the root is of no use and stand-ins are to blame
 */
export async function unpackPackages(
  packages: readonly LockedPackage[],
  fs: RootFs,
  sandbox: SandboxOptions,
  options: UnpackOptions,
): Promise<void> {
  const from = options.standInsFrom ?? LARGE_PACKAGE_BYTES;
  const chosen = await choosePackages(packages, fs, { ...options, from });
  const unpack = async (files: readonly string[]): Promise<void> => {
    await runDpkg(dpkgUnpackArgv(files, { triggers: false }), sandbox, { ...options, packages });
  };
  if (chosen.length === 0) {
    await unpack(packages.map(packageInside));
    return;
  }
  await using standIns = await StandIns.make(chosen, fs, sandbox, options);
  await unpack(packages.map((file) => standIns.inside(file)));
  await standIns.settle(fs);
  options.reporter.debug(`unpacked beside dpkg: ${standIns.packages.join(', ')}`);
}

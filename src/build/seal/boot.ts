/** Kernel, module index, initramfs and kernel arguments, where a bootable container has them. */
import { rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { Reporter } from '../../report/events.ts';
import type { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';

/**
 * Debian's kernels ship /boot/{vmlinuz,config,System.map}-RELEASE; the image has them beside the modules and an
 * empty /boot. Done in the layer that brings the kernel, so that its bytes stay there.
 */
export async function settleKernelFiles(fs: RootFs): Promise<void> {
  for (const name of await fs.list('/boot')) {
    const path = join('/boot', name);
    const target = kernelFileTarget(path);
    if (target === undefined || !(await fs.exists(dirname(target)))) continue;
    await rename(await fs.resolve(path), await fs.resolve(target));
  }
}

/** Where a file that a kernel package has in /boot belongs. */
export function kernelFileTarget(path: string): string | undefined {
  const match = /^\/boot\/(vmlinuz|config|System\.map)-([^/]+)$/.exec(path);
  return match === null ? undefined : `/usr/lib/modules/${match[2]}/${match[1]}`;
}

/** @throws IngotError BUILD_FAILED for another kernel than the image's own, or a second one */
export async function requireKernel(fs: RootFs, kernelRelease: string): Promise<void> {
  const releases = await fs.list('/usr/lib/modules');
  if (!releases.includes(kernelRelease) || releases.length !== 1) {
    throw new IngotError(
      'BUILD_FAILED',
      `the image must have just the kernel ${kernelRelease}, and has ${releases.join(', ') || 'none'}`,
      { hint: 'a package brings a kernel of its own: `ingot lock` again, or leave it out of packages' },
    );
  }
}

export async function makeModuleIndexAndInitramfs(
  fs: RootFs,
  kernelRelease: string,
  sandbox: SandboxOptions,
  options: { readonly reporter: Reporter; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  await requireKernel(fs, kernelRelease);
  const onLine = (line: string): void => {
    options.reporter.debug(line);
  };
  const run = { signal: options.signal, onLine };
  await runInSandbox(['depmod', '--all', kernelRelease], sandbox, run);
  const folder = `/usr/lib/modules/${kernelRelease}`;
  // The locale decides the order of files in the archive; the sandbox sets it.
  await runInSandbox(
    [
      ...(['dracut', '--force', '--no-hostonly', '--reproducible'] as const),
      ...['--kver', kernelRelease, `${folder}/initramfs.img`],
    ],
    { ...sandbox, epoch: await epochOf(fs, `${folder}/vmlinuz`) },
    run,
  );
}

/**
 * The kernel's own time. By the seal's, accounts in the initramfs would get another day with every lock (shadow(5),
 * field 3), and nodes would pull all of it again.
 *
 * @returns seconds
 */
async function epochOf(fs: RootFs, path: string): Promise<number> {
  const { mtimeMs } = await stat(await fs.resolve(path));
  return Math.floor(mtimeMs / 1000);
}

/** bootc's kernel argument fragments: TOML with one key. A JSON array of strings is a TOML array. */
export function kernelArgumentsToml(values: readonly string[]): string {
  return `kargs = ${JSON.stringify(values)}\n`;
}

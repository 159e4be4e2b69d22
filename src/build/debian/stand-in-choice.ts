/** Which packages can have a stand-in; see stand-ins.ts. */
import { join } from 'node:path';
import { Writable } from 'node:stream';
import pLimit from 'p-limit';

import { TarParser } from '../../oci/tar-parser.ts';
import type { LockedPackage } from '../../packages/package.ts';
import { run } from '../../proc/run.ts';
import type { Store } from '../../store/store.ts';
import { dpkgDebControlTarArgv } from '../../tools/dpkg-deb.ts';
import type { RootFs } from '../root-fs.ts';
import { DATABASE } from './database.ts';

const CONTROLS_SIDE_BY_SIDE = 4;

/**
 * Those of at least `from` bytes after the last whose scripts act while packages are unpacked: from there on nothing looks at
 * files. A new package has just its preinst, one that replaces another version has scripts of both.
 *
 * @param packages in the order in which dpkg is to unpack them
 * @param fs the root that they are to be unpacked to
 */
export async function choosePackages(
  packages: readonly LockedPackage[],
  fs: RootFs,
  { from, store, signal }: { readonly from: number; readonly store: Store; readonly signal?: AbortSignal | undefined },
): Promise<LockedPackage[]> {
  const first = packages.findIndex(({ size }) => size >= from);
  if (first === -1) return [];
  const status = (await fs.readTextIfPresent(join(DATABASE, 'status'))) ?? '';
  const known = new Set([...status.matchAll(/^Package:[ \t]*(\S+)/gm)].map((match) => match[1]));
  const limit = pLimit(CONTROLS_SIDE_BY_SIDE);
  const described = await Promise.all(
    packages.slice(first).map((file) =>
      limit(async () => ({ file, control: await controlFiles(store.packagePath(file.sha256), signal) })),
    ),
  );
  const last = described.findLastIndex(
    ({ file, control }) => control === undefined || control.has('preinst') || known.has(file.name),
  );
  return described
    .slice(last + 1)
    .filter(
      ({ file, control }) =>
        file.size >= from &&
        // dpkg hashes configuration files, and every file of a package that brings no hashes.
        control?.has('md5sums') === true &&
        !control.has('conffiles'),
    )
    .map(({ file }) => file);
}

/** Names in the control part of a package; undefined when it cannot be read. */
async function controlFiles(deb: string, signal?: AbortSignal): Promise<ReadonlySet<string> | undefined> {
  const names = new Set<string>();
  const parser = new TarParser(({ path }) => {
    names.add(path);
    return undefined;
  });
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      try {
        parser.write(chunk);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  try {
    await run(dpkgDebControlTarArgv(deb), { signal, stdoutTo: sink });
    return names;
  } catch (error) {
    if (signal?.aborted === true) throw error;
    return undefined; // dpkg will say why
  }
}

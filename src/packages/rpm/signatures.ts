/**
 * Signatures of rpm packages. Where a repository signs its packages and not its index, what the index says of hashes is
 * only as good as the connection was: so the packages themselves are looked at, before a lock names them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import type { Store } from '../../store/store.ts';
import { parseUnsigned, rpmkeysCheckArgv, rpmkeysImportArgv } from '../../tools/rpm.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { describePackage, type LockedPackage } from '../package.ts';
import type { TrustedRepository } from './metadata.ts';

const KEYS = '/keys';
const PACKAGES = '/packages';

export interface SignatureOptions {
  readonly tools: ToolsRoot;
  /** Has the packages. */
  readonly store: Store;
  readonly signal?: AbortSignal | undefined;
}

/** @throws IngotError MIRROR_UNTRUSTED naming every package that none of the repository's keys has signed */
export async function requireSigned(
  { id, keys, fingerprints }: TrustedRepository,
  packages: readonly LockedPackage[],
  { tools, store, signal }: SignatureOptions,
): Promise<void> {
  if (packages.length === 0) return;
  await using scratch = await store.scratch('keys');
  await mkdir(join(scratch.path, 'database'));
  const files: string[] = [];
  for (const [index, key] of keys.entries()) {
    files.push(`${KEYS}/${index}.asc`);
    await writeFile(join(scratch.path, `${index}.asc`), key);
  }
  const binds = [
    { path: scratch.path, target: KEYS },
    { path: store.path('packages'), target: PACKAGES, readOnly: true },
  ];
  await run(tools.argv(rpmkeysImportArgv(`${KEYS}/database`, files), binds), { signal, label: 'rpmkeys' });
  const byPath = new Map(
    packages.map((item) => [`${PACKAGES}/${store.packageName(item.sha256, 'rpm')}`, item]),
  );
  const argv = rpmkeysCheckArgv(`${KEYS}/database`, [...byPath.keys()]);
  const { stdout, exitCode } = await run(tools.argv(argv, binds), {
    signal,
    label: 'rpmkeys',
    okExitCodes: Array.from({ length: 256 }, (_, code) => code),
  });
  const unsigned = parseUnsigned(stdout).flatMap((path) => byPath.get(path) ?? []);
  if (exitCode === 0 && unsigned.length === 0) return;
  const names = (unsigned.length === 0 ? packages : unsigned).map(describePackage);
  throw new IngotError(
    'MIRROR_UNTRUSTED',
    `not signed by ${fingerprints.join(' or ')}, the key of the repository ${id}: ${names.join(', ')}`,
    { hint: 'the mirror serves something else, or the repository has a new key' },
  );
}

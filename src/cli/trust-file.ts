/** `trust.yaml` of a project: in the working directory, or the nearest at or above a declaration. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { MAX_SOURCE_BYTES } from '../spec/source-tree.ts';
import type { PolicyReader } from '../spec/update-schema.ts';
import { parseTrustPolicy, type TrustPolicy } from '../trust/policy.ts';
import { updatePolicyReader } from '../trust/update-policy.ts';
import { readKeyFile } from './signing-key.ts';

export const TRUST_FILE = 'trust.yaml';

/**
 * @param path absolute
 * @throws IngotError USAGE when it cannot be read; FindingsError TRUST_INVALID
 */
export async function loadTrustPolicy(path: string, cwd: string): Promise<TrustPolicy> {
  const inside = relative(cwd, path);
  const shown = inside.startsWith('..') ? path : inside;
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_SOURCE_BYTES) throw new IngotError('USAGE', `${shown} has ${size} bytes`);
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof IngotError) throw error;
    throw new IngotError('USAGE', `the policy ${shown} cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  }
  return parseTrustPolicy(text, shown, {
    readKey: async (key) =>
      (await readKeyFile(join(dirname(path), relative(dirname(shown), key)), key)).toString(),
  });
}

/**
 * The search ends at the root of a Git repository, so that nothing from outside of it is trusted unseen.
 *
 * @param from absolute path of a folder
 */
export async function findTrustFile(from: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, TRUST_FILE);
    if (await exists(path)) return path;
    if ((await exists(join(folder, '.git'))) || dirname(folder) === folder) return undefined;
  }
}

/** For declarations: with the `trust.yaml` of the project that each is in. */
export function policyReader(cwd: string): PolicyReader {
  return updatePolicyReader({
    now: () => new Date(),
    readKey: async (path) => (await readKeyFile(resolve(cwd, path), path)).toString(),
    project: async (declaration) => {
      const file = await findTrustFile(dirname(resolve(cwd, declaration)));
      return file === undefined ? undefined : loadTrustPolicy(file, cwd);
    },
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

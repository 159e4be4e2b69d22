/** The Debian packages that must be on the machine: `scripts/debian-packages.txt`, which says how it is written. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { findProgram } from '../../proc/find-program.ts';

const GROUPS = ['product', 'test', 'bench'] as const;

export interface NeededPackage {
  readonly group: (typeof GROUPS)[number];
  readonly name: string;
  /** Programs or absolute paths that are there when the package is. */
  readonly proof: readonly string[];
  readonly purpose: string;
}

/** @throws SyntaxError for a line of another form */
export function parseNeededPackages(text: string): readonly NeededPackage[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, word, name, proof, purpose] = /^(\S+)\s+(\S+)\s+(\S+)\s+(.+)$/.exec(line) ?? [];
      const group = GROUPS.find((known) => known === word);
      if (group === undefined || name === undefined || proof === undefined || purpose === undefined) {
        throw new SyntaxError(`not "group package proof purpose": ${line}`);
      }
      return { group, name, proof: proof.split(','), purpose };
    });
}

export async function loadNeededPackages(productRoot: string): Promise<readonly NeededPackage[]> {
  return parseNeededPackages(await readFile(join(productRoot, 'scripts/debian-packages.txt'), 'utf8'));
}

/** Those of the package's proofs that are not there. */
export async function missingProofs({ proof }: NeededPackage): Promise<readonly string[]> {
  const found = await Promise.all(
    proof.map((item) => findProgram(item, { executable: !item.startsWith('/') })),
  );
  return proof.filter((_item, index) => found[index] === undefined);
}

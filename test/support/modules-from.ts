import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The module and all of ours that it imports, types left out. */
export async function modulesFrom(file: string, found = new Set<string>()): Promise<Set<string>> {
  if (found.has(file)) return found;
  found.add(file);
  const text = await readFile(file, 'utf8');
  for (const [statement, path = ''] of text.matchAll(/^(?:import|export)\b[^;]*?\bfrom '(\.[^']*)';/gms)) {
    if (!/^(?:import|export) type /.test(statement)) await modulesFrom(join(dirname(file), path), found);
  }
  return found;
}

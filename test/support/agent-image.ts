/** The shared image with Ingot on it: for machines that update themselves. */
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { acquireFileLock } from '../../src/proc/file-lock.ts';
import { builtFrom, builtImage, type BuiltImage, oncePerRun, TEST_FOLDER } from './built-image.ts';
import { ingotJson } from './cli.ts';

/** Its layers but those of the agent are the shared image's, and its checks wait for a machine that is very slow. */
export async function agentImage(): Promise<BuiltImage> {
  const base = await builtImage();
  const folder = join(TEST_FOLDER, 'agent-image');
  await mkdir(folder, { recursive: true });
  await using _building = await acquireFileLock(join(folder, 'lock'));
  return await oncePerRun(folder, async () => {
    const declaration = join(folder, 'node.yaml');
    const text = (await readFile(base.declaration, 'utf8')).replace(/^ {4}timeout: 5m$/m, '    timeout: 30m');
    // Whoever has the image already reads its lock meanwhile.
    const fresh = join(folder, 'fresh');
    await mkdir(fresh, { recursive: true });
    await writeFile(join(fresh, 'node.yaml'), `${text}\nagent: true\n`);
    await copyFile(base.declaration.replace('.yaml', '.lock.yaml'), join(fresh, 'node.lock.yaml'));
    await ingotJson(['--store', base.store, 'lock', join(fresh, 'node.yaml')]);
    for (const name of ['node.yaml', 'node.lock.yaml']) await rename(join(fresh, name), join(folder, name));
    const layout = join(folder, 'layout');
    const built = await ingotJson(['--store', base.store, 'build', declaration, '--output', layout]);
    return builtFrom(declaration, layout, built);
  });
}

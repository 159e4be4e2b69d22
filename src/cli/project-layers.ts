/**
 * The layers of the user's project: the nearest folder `layers/` at or above a declaration. The search ends at the
 * root of a Git repository, so that nothing from outside of it comes in unseen.
 */
import { readdir, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { LayerKind } from '../catalog/layer.ts';
import { errnoOf, IngotError } from '../errors.ts';

/**
 * @param from absolute path of a folder
 * @returns absolute path of the folder `layers/`; undefined without one
 */
export async function findProjectLayers(from: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const layers = join(folder, 'layers');
    // Other things are called layers too: one that holds no kind of layer is not meant.
    if ((await namesIn(layers)).some((name) => LayerKind.safeParse(name).success)) return layers;
    if ((await namesIn(folder)).includes('.git') || dirname(folder) === folder) return undefined;
  }
}

/** Empty for what is no folder, or not for us to read. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}

/**
 * Folders of layers beside the product's own: those of the project that the declarations are in, or else the working
 * directory, and those that were named. Each once, however it is reached.
 *
 * @param named folders of INGOT_LAYERS
 * @throws IngotError USAGE for declarations of several projects: one command has one catalogue
 */
export async function userLayers(
  cwd: string,
  productLayers: string,
  named: readonly string[],
  files: readonly string[],
): Promise<readonly string[]> {
  const places = files.length === 0 ? [cwd] : files.map((file) => dirname(resolve(cwd, file)));
  const projects = new Set<string>();
  for (const place of new Set(places)) {
    const found = await findProjectLayers(place);
    if (found !== undefined) projects.add(await realOf(found));
  }
  const product = await realOf(productLayers);
  projects.delete(product);
  const [project, other] = [...projects].sort();
  if (other !== undefined) {
    throw new IngotError(
      'USAGE',
      `the declarations are of two projects, with layers in ${project} and ${other}`,
      {
        hint: 'name the declarations of one project at a time',
      },
    );
  }
  const folders = new Map<string, string>(project === undefined ? [] : [[project, project]]);
  for (const name of named) {
    const folder = resolve(cwd, name);
    const real = await realOf(folder);
    if (real !== product && !folders.has(real)) folders.set(real, folder);
  }
  return [...folders.values()];
}

/** What cannot be resolved keeps its name: reading it says what is wrong. */
async function realOf(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch {
    return folder;
  }
}

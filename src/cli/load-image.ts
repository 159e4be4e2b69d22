/** A declaration and the catalogue, read and checked against each other: where every command on an image begins. */
import { join, resolve } from 'node:path';

import { loadCatalog, type LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, type Finding } from '../errors.ts';
import { checkReferences } from '../resolve/check-references.ts';
import { loadSpec } from '../spec/load.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import type { CommandContext } from './context.ts';

type CatalogContext = Pick<CommandContext, 'cwd' | 'env' | 'productRoot' | 'reporter'>;

/**
 * The product's own layers, then those of the folders in INGOT_LAYERS (separated by colons), later ones winning.
 *
 * @throws FindingsError CATALOG_INVALID with every mistake of every layer
 */
export async function openCatalog({
  cwd,
  env,
  productRoot,
  reporter,
}: CatalogContext): Promise<LoadedCatalog> {
  const own = (env['INGOT_LAYERS'] ?? '').split(':').filter((folder) => folder !== '');
  const folders = [join(productRoot, 'layers'), ...own.map((folder) => resolve(cwd, folder))];
  return loadCatalog(folders, {
    onOverride: (layer, replaced) => {
      reporter.info(`${layer.file} takes the place of ${replaced.file}`);
    },
  });
}

export interface CheckedImage {
  readonly parsed: ParsedSpec;
  readonly catalog: LoadedCatalog;
  /** What looks wrong but need not be. */
  readonly warnings: readonly Finding[];
}

/**
 * @param path the declaration, as the user named it
 * @param catalog where several images are loaded, to read it once
 * @throws FindingsError with everything that is wrong in the declaration, what it extends, and what it names
 * @throws IngotError IMAGE_UNKNOWN when there is no such file or variant
 */
export async function loadCheckedImage(
  context: CatalogContext,
  path: string,
  variant?: string,
  catalog?: LoadedCatalog,
): Promise<CheckedImage> {
  const opened = catalog ?? (await openCatalog(context));
  const parsed = await loadSpec(path, {
    cwd: context.cwd,
    variant,
    defaultRelease: (base) => opened.find('base', base)?.definition.defaultRelease,
  });
  const findings = [...parsed.warnings, ...checkReferences(parsed, opened)];
  if (findings.some(({ severity }) => severity === 'error')) throw new FindingsError(findings);
  return { parsed, catalog: opened, warnings: findings };
}

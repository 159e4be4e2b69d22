/** What this builder brings to every image's bits besides its own code. */
import { DEFAULT_LEVEL } from '../build/archive/pack.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { digestOfJson } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { BuilderFacts } from '../resolve/check-lock.ts';

/** @throws IngotError CATALOG_INVALID without a tools definition */
export function builderFacts(catalog: LoadedCatalog): BuilderFacts {
  return {
    compressor: { name: 'zstd', version: process.versions['zstd'] ?? 'none', level: DEFAULT_LEVEL },
    toolsDefinition: digestOfJson(requireTools(catalog)),
  };
}

export function requireTools(catalog: LoadedCatalog): NonNullable<LoadedCatalog['tools']> {
  if (catalog.tools !== undefined) return catalog.tools;
  throw new IngotError('CATALOG_INVALID', 'the catalogue has no tools.yaml', {
    hint: 'the product brings one in its folder layers/: is it installed whole?',
  });
}

/** A declaration and the catalogue, read and checked against each other: where every command on an image begins. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import type { LayerKind } from '../catalog/layer.ts';
import { loadCatalog, type LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, IngotError, type Finding } from '../errors.ts';
import { checkReferences } from '../resolve/check-references.ts';
import { loadSpec } from '../spec/load.ts';
import { ANY_KERNEL, type ParsedSpec } from '../spec/node-image.ts';
import type { CommandContext } from './context.ts';
import { judgeImage, type JudgeOptions } from './judge-image.ts';
import { userLayers } from './project-layers.ts';
import { policyReader } from './trust-file.ts';

type CatalogContext = Pick<CommandContext, 'cwd' | 'env' | 'productRoot' | 'reporter'>;
type CheckContext = CatalogContext & Pick<CommandContext, 'now'>;

/**
 * The product's own layers, and in their place or beside them those of the project and of the folders in INGOT_LAYERS
 * (separated by colons).
 *
 * @param files the declarations that it is for, which say where the project is
 * @throws FindingsError CATALOG_INVALID with every mistake of every layer
 * @throws IngotError USAGE for declarations of several projects
 */
export async function openCatalog(
  { cwd, env, productRoot, reporter }: CatalogContext,
  files: readonly string[] = [],
): Promise<LoadedCatalog> {
  if (!existsSync(join(productRoot, 'layers'))) {
    throw new IngotError('ENVIRONMENT', 'this copy of Ingot is the agent of a node: it has no layers', {
      hint: 'use a machine that Ingot is installed on whole',
    });
  }
  const named = (env['INGOT_LAYERS'] ?? '').split(':').filter((folder) => folder !== '');
  const product = join(productRoot, 'layers');
  return loadCatalog([product, ...(await userLayers(cwd, product, named, files))], {
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
  context: CheckContext,
  path: string,
  variant?: string,
  catalog?: LoadedCatalog,
): Promise<CheckedImage> {
  const opened = catalog ?? (await openCatalog(context, [path]));
  const parsed = await openSpec(context, path, variant, opened);
  const findings = await findingsOf(context, parsed, opened);
  if (findings.some(({ severity }) => severity === 'error')) throw new FindingsError(findings);
  return { parsed, catalog: opened, warnings: findings };
}

/** The declaration alone, read and normalised. */
export async function openSpec(
  { cwd }: Pick<CommandContext, 'cwd'>,
  path: string,
  variant: string | undefined,
  catalog: LoadedCatalog,
): Promise<ParsedSpec> {
  const namesOf = (kind: LayerKind): string[] =>
    catalog.layers
      .filter(({ definition }) => definition.kind === kind)
      .map(({ definition }) => definition.name);
  return loadSpec(path, {
    cwd,
    variant,
    readPolicy: policyReader(cwd),
    known: {
      agents: namesOf('agent'),
      addons: namesOf('addon'),
      bases: namesOf('base'),
      kernels: [ANY_KERNEL, ...namesOf('kernel')],
    },
    defaultRelease: (base) => catalog.find('base', base)?.definition.defaultRelease,
  });
}

/**
 * Everything there is to say about a declaration that could be read.
 *
 * @param options by the facts alone, what the catalogue says is left out
 */
export async function findingsOf(
  context: CheckContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
  options: JudgeOptions = {},
): Promise<readonly Finding[]> {
  if (options.byFacts !== true) {
    return [...parsed.warnings, ...(await checkImage(context, parsed, catalog, options))];
  }
  const judged = await judgeImage(context, parsed, catalog, options);
  return [...parsed.warnings, ...(judged?.findings ?? [])];
}

/** What the declaration names that is not there, and what of it cannot be together. */
async function checkImage(
  context: CheckContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
  options: JudgeOptions = {},
): Promise<readonly Finding[]> {
  const references = checkReferences(parsed, catalog);
  const judged = await judgeImage(context, parsed, catalog, options);
  const known = new Set(references.map(({ location }) => location?.line));
  // A name that the catalogue lacks is said once.
  const more = (judged?.findings ?? []).filter(
    ({ rule, location }) => !(rule === 'unknown' || rule === 'offered') || !known.has(location?.line),
  );
  // To complete what cannot be there anyhow would be in vain.
  const refused = more.filter(({ severity }) => severity === 'error').map(({ location }) => location);
  const isInVain = ({ code, location }: Finding): boolean =>
    code === 'SPEC_INVALID' && refused.some((place) => isDeepStrictEqual(place, location));
  return [...references.filter((one) => !isInVain(one)), ...more];
}

/** Everything that is wrong with a declaration and each of its variants; also that it cannot be read at all. */
export async function findingsOfFile(
  context: CheckContext,
  path: string,
  catalog: LoadedCatalog,
): Promise<readonly Finding[]> {
  const findings = new Map<string, Finding>();
  const keep = (found: readonly Finding[]): void => {
    for (const finding of found) {
      const key = JSON.stringify([finding.location, finding.message]);
      if (!findings.has(key)) findings.set(key, finding);
    }
  };
  try {
    const whole = await openSpec(context, path, undefined, catalog);
    keep(await findingsOf(context, whole, catalog));
    for (const variant of whole.variants) {
      keep(await checkImage(context, await openSpec(context, path, variant, catalog), catalog));
    }
  } catch (error) {
    if (error instanceof FindingsError) keep(error.findings);
    else if (error instanceof IngotError) keep([findingOf(error, path)]);
    else throw error;
  }
  return [...findings.values()];
}

function findingOf(error: IngotError, file: string): Finding {
  const { code, message, location = { file, line: 1, column: 1 } } = error;
  return { code, severity: 'error', message, location };
}

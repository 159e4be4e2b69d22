/**
 * Reads the catalogue: `<folder>/<kind>/<name>.yaml` for each layer, `<folder>/<kind>/<name>/` for the files it
 * brings, and `<folder>/tools.yaml`. A layer of a later folder takes the place of one of the first, which is the product's
 * own; two of the later ones must not claim one name.
 */
import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';

import { digestOfJson, type Digest } from '../digest.ts';
import { errnoOf, FindingsError, IngotError, type Finding, type Location } from '../errors.ts';
import { sortFindings } from '../spec/findings.ts';
import { applySchema } from '../spec/source-schema.ts';
import { readSourceText } from '../spec/source-text.ts';
import { keyLocationAt, locationAt, parseSource, type SourceMapping } from '../spec/source-tree.ts';
import { nearest } from '../spec/suggest.ts';
import { readBroughtFile } from './brought-file.ts';
import { findCircles } from './circles.ts';
import { checkLayer, checkReferences, type SourcedLayer } from './check.ts';
import { keptValue } from './kept-value.ts';
import { LayerDefinition, LayerKind, type Catalog, type CatalogLayer, type PackageFamily } from './layer.ts';
import { ToolsDefinition } from './tools.ts';

export interface LoadedCatalog extends Catalog {
  /** Undefined when no folder has a `tools.yaml`. */
  readonly tools: ToolsDefinition | undefined;
}

export interface LoadCatalogOptions {
  /** Told of every layer that takes the place of the product's own. */
  readonly onOverride?: (layer: CatalogLayer, replaced: CatalogLayer) => void;
}

/**
 * @param folders the product's own first
 * @throws FindingsError CATALOG_INVALID with every mistake of every layer
 */
export async function loadCatalog(
  folders: readonly string[],
  options: LoadCatalogOptions = {},
): Promise<LoadedCatalog> {
  const reader = new CatalogReader();
  const layers = new Map<string, SourcedLayer>();
  const builtIn = new Set<SourcedLayer>();
  const overrides: (readonly [SourcedLayer, SourcedLayer])[] = [];
  let tools: ToolsDefinition | undefined;
  for (const [place, folder] of folders.entries()) {
    const read = place === 0 ? await recallFolder(folder) : await readFolder(folder);
    reader.findings.push(...read.findings);
    reader.names.push(...read.names);
    for (const layer of read.layers) {
      const key = layerKey(layer.definition);
      const replaced = layers.get(key);
      if (replaced !== undefined) {
        if (builtIn.has(replaced)) overrides.push([layer, replaced]);
        else reader.reportClaim(layer, replaced);
      }
      layers.set(key, layer);
      if (place === 0) builtIn.add(layer);
    }
    tools = read.tools ?? tools;
  }
  const sorted = [...layers.values()].sort((left, right) =>
    layerKey(left.definition) < layerKey(right.definition) ? -1 : 1,
  );
  const findings = [...reader.findings, ...checkReferences(sorted, reader.names), ...findCircles(sorted)];
  if (findings.length > 0) throw new FindingsError(sortFindings(findings));
  for (const [layer, replaced] of overrides) options.onOverride?.(layer, replaced);
  return {
    layers: sorted,
    tools,
    find: (kind, name) => layers.get(`${kind}/${name}`),
  };
}

/** What one folder holds, mistakes included. */
interface ReadFolder {
  readonly layers: readonly SourcedLayer[];
  readonly tools: ToolsDefinition | undefined;
  readonly names: readonly string[];
  readonly findings: readonly Finding[];
}

async function readFolder(folder: string): Promise<ReadFolder> {
  const reader = new CatalogReader();
  const layers = await reader.readFolder(folder);
  const tools = await reader.readTools(folder);
  return { layers, tools, names: reader.names, findings: reader.findings };
}

const SOURCE = join(import.meta.dirname, '..');
const EXTENSION = extname(import.meta.filename);

/** What decides which layers are made of a text. */
export const LAYERS_CODE: readonly string[] = [
  ...['brought-file', 'check', 'circles', 'constraint', 'layer', 'load', 'tools'].map((name) =>
    join(SOURCE, `catalog/${name}${EXTENSION}`),
  ),
  ...['digest', 'errors'].map((name) => join(SOURCE, `${name}${EXTENSION}`)),
  join(SOURCE, 'spec'),
  // Says which parsers there are.
  join(SOURCE, '../package.json'),
];

/** The product's own folder, which is the same from run to run. */
async function recallFolder(folder: string): Promise<ReadFolder> {
  return keptValue({
    name: 'layers',
    folder,
    code: LAYERS_CODE,
    make: () => readFolder(folder),
    isKept: ({ findings }) => findings.length === 0,
  });
}

function layerKey(definition: LayerDefinition): string {
  return `${definition.kind}/${definition.name}`;
}

const CODES = { unreadable: 'CATALOG_INVALID', invalid: 'CATALOG_INVALID' } as const;

class CatalogReader {
  readonly findings: Finding[] = [];
  /** Of all layers there are, the mistaken ones too. */
  readonly names: string[] = [];

  async readFolder(folder: string): Promise<SourcedLayer[]> {
    const layers: SourcedLayer[] = [];
    for (const entry of await listFolder(folder)) {
      if (!entry.isDirectory()) continue;
      const kind = LayerKind.safeParse(entry.name);
      if (!kind.success) {
        const suggestions = nearest(entry.name, LayerKind.options);
        this.report(`${join(folder, entry.name)} is not a kind of layer`, undefined, suggestions);
        continue;
      }
      for (const file of await listFolder(join(folder, kind.data))) {
        const path = join(folder, kind.data, file.name);
        if (file.name.endsWith('.yml')) this.report(`${path} is not read: name it .yaml`);
        if (!file.name.endsWith('.yaml')) continue;
        const layer = await this.readLayer(path, kind.data, file.name.slice(0, -'.yaml'.length));
        if (layer !== undefined) layers.push(layer);
      }
    }
    return layers;
  }

  async readTools(folder: string): Promise<ToolsDefinition | undefined> {
    const file = join(folder, 'tools.yaml');
    const entries = await listFolder(folder);
    if (!entries.some((entry) => entry.name === 'tools.yaml')) return undefined;
    const source = await this.readSource(file);
    if (source === undefined) return undefined;
    const { value, findings } = applySchema(source, ToolsDefinition, 'CATALOG_INVALID');
    this.findings.push(...findings.map(({ finding }) => finding));
    return value;
  }

  reportClaim({ source, definition }: SourcedLayer, other: SourcedLayer): void {
    const { file, line } = locationAt(other.source, ['name']);
    this.report(
      `the layer ${layerKey(definition)} is already defined in ${file}:${line}`,
      locationAt(source, ['name']),
    );
  }

  private async readLayer(file: string, kind: LayerKind, name: string): Promise<SourcedLayer | undefined> {
    this.names.push(name);
    const source = await this.readSource(file);
    if (source === undefined) return undefined;
    const { value: definition, findings } = applySchema(source, LayerDefinition, 'CATALOG_INVALID');
    this.findings.push(...findings.map(({ finding }) => finding), ...checkLayer(source));
    if (definition === undefined) return undefined;
    if (definition.kind !== kind || definition.name !== name) {
      const key = definition.kind === kind ? 'name' : 'kind';
      this.report(
        `this file is ${kind}/${name}, but it says it is ${layerKey(definition)}`,
        locationAt(source, [key]),
      );
    }
    const folder = file.slice(0, -'.yaml'.length);
    const contents = await this.readContents(definition, 'debian', source, folder);
    const quadlet = await this.readQuadlet(definition, source, folder);
    const { rpm, ...others } = definition.install;
    const digestOfFamily = (install: object, texts: ReadonlyMap<string, string>): Digest =>
      digestOfJson({ definition: { ...definition, install }, contents: Object.fromEntries(texts), quadlet });
    const onRpm = await this.readContents(definition, 'rpm', source, folder);
    return {
      definition,
      file,
      digest: digestOfFamily(others, contents),
      contents,
      ...(quadlet !== undefined && { quadlet }),
      ...(rpm !== undefined && { rpm: { digest: digestOfFamily({ rpm }, onRpm), contents: onRpm } }),
      source,
    };
  }

  private async readSource(file: string): Promise<SourceMapping | undefined> {
    try {
      const { root, findings } = parseSource(
        { file, text: await readSourceText(file, file, CODES) },
        'CATALOG_INVALID',
      );
      this.findings.push(...findings);
      return root;
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      this.report(error.message, error.location);
      return undefined;
    }
  }

  private async readQuadlet(
    { container }: LayerDefinition,
    source: SourceMapping,
    folder: string,
  ): Promise<string | undefined> {
    if (container?.from === undefined) return container?.content;
    return this.readBrought(folder, container.from, keyLocationAt(source, ['container', 'from']));
  }

  private async readContents(
    { install }: LayerDefinition,
    family: PackageFamily,
    source: SourceMapping,
    folder: string,
  ): Promise<Map<string, string>> {
    const contents = new Map<string, string>();
    for (const [index, file] of (install[family]?.files ?? []).entries()) {
      if (file.product !== undefined) continue; // whoever builds has it
      const place = keyLocationAt(source, ['install', family, 'files', index, 'from']);
      const content = file.content ?? (await this.readBrought(folder, file.from ?? '', place));
      if (content !== undefined) contents.set(file.path, content);
    }
    return contents;
  }

  private async readBrought(folder: string, from: string, place: Location): Promise<string | undefined> {
    try {
      return await readBroughtFile(folder, from);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      this.report(error.message, place);
      return undefined;
    }
  }

  private report(message: string, location?: Finding['location'], suggestions: readonly string[] = []): void {
    this.findings.push({
      code: 'CATALOG_INVALID',
      severity: 'error',
      message,
      ...(location !== undefined && { location }),
      ...(suggestions.length > 0 && { suggestions }),
    });
  }
}

/** Entries in name order, hidden ones left out. */
async function listFolder(folder: string): Promise<{ readonly name: string; isDirectory(): boolean }[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.name.startsWith('.'))
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  } catch (error) {
    throw new IngotError(
      'CATALOG_INVALID',
      `cannot read the catalogue folder ${folder} (${errnoOf(error) ?? 'error'})`,
      {
        hint: 'a catalogue folder holds layers as <kind>/<name>.yaml',
        cause: error,
      },
    );
  }
}

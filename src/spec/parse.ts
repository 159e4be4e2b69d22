/**
 * From the text of a declaration to a ParsedSpec. Every mistake of the file, of what it extends and of all its
 * variants is found before any is reported.
 */
import { dirname, isAbsolute, join } from 'node:path';

import { FindingsError, IngotError, type Finding } from '../errors.ts';
import { checkNames, type KnownNames } from './check-names.ts';
import { checkDeclaration } from './check.ts';
import { mergeMappings, withoutKeys } from './merge.ts';
import { placeKey, sortFindings } from './findings.ts';
import type { NodeImage, ParsedSpec, SourceMap } from './node-image.ts';
import { baseOf, normalise, type NormaliseOptions } from './normalise.ts';
import { NodeImageInput } from './schema.ts';
import { applySchema, type SchemaFinding } from './source-schema.ts';
import {
  keyLocationAt,
  locationAt,
  nodeAt,
  parseSource,
  quoted,
  type SourceMapping,
  type SourceNode,
} from './source-tree.ts';
import { nearest } from './suggest.ts';
import { type HostPolicy, type PolicyReader, UpdateInput } from './update-schema.ts';

const MAX_EXTENDED = 32;

export interface ParseOptions extends NormaliseOptions {
  /**
   * Text of an extended declaration.
   *
   * @throws IngotError when it cannot be read; its message becomes the finding.
   */
  readonly readExtended?: (file: string) => Promise<string>;
  /** Reads what `update` names. Without it the image has no policy. */
  readonly readPolicy?: PolicyReader | undefined;
  /** Checks names of the catalogue along with everything else. */
  readonly known?: KnownNames | undefined;
}

/**
 * @param file as findings name it; `extends` is relative to its folder
 * @throws FindingsError SPEC_INVALID with everything that is wrong
 * @throws IngotError IMAGE_UNKNOWN when there is no such variant
 */
export async function parseSpec(text: string, file: string, options: ParseOptions = {}): Promise<ParsedSpec> {
  const reader = new DeclarationReader(options.readExtended);
  const whole = await reader.read(text, file);
  const findings = reader.findings;
  const variants = whole === undefined ? [] : variantsOf(whole);
  let image: NodeImage | undefined;
  if (whole !== undefined) {
    for (const variant of [undefined, ...variants]) {
      const root = variant === undefined ? whole : applyVariant(whole, variant.node);
      const judged = judge(root, { ...options, variant: variant?.name });
      const { policy, findings: ofPolicy } = await readPolicy(root, options.readPolicy);
      const all = [...judged.findings, ...ofPolicy.map((finding) => ({ finding, missing: false }))];
      for (const finding of newOnes(all, findings)) findings.push(finding);
      if (variant?.name === options.variant) image = withPolicy(judged.image, policy);
    }
  }
  const sorted = sortFindings(findings);
  if (sorted.some(({ severity }) => severity === 'error')) throw new FindingsError(sorted);

  const names = variants.map(({ name }) => name);
  const chosen = variants.find(({ name }) => name === options.variant);
  if (image === undefined || whole === undefined) throw unknownVariant(options.variant ?? '', names, file);
  const root = chosen === undefined ? whole : applyVariant(whole, chosen.node);
  return { image, sources: sourceMap(root), file, variants: names, warnings: sorted };
}

/** Reads a declaration and what it extends, merged, checking each file on its own on the way. */
class DeclarationReader {
  readonly findings: Finding[] = [];
  private readonly readExtended: ParseOptions['readExtended'];
  private extended = 0;

  constructor(readExtended: ParseOptions['readExtended']) {
    this.readExtended = readExtended;
  }

  async read(text: string, file: string, above: readonly string[] = []): Promise<SourceMapping | undefined> {
    const { root, findings } = parseSource({ file, text }, 'SPEC_INVALID');
    this.add(findings);
    if (root === undefined) return undefined;
    // What a file lacks another may give; what it says must be right by itself.
    const { findings: mistakes } = applySchema(root, NodeImageInput, 'SPEC_INVALID');
    this.add(mistakes.filter(({ missing }) => !missing).map(({ finding }) => finding));
    this.add(checkDeclaration(root));
    let merged: SourceMapping | undefined;
    for (const reference of referencesOf(root)) {
      const below = await this.readReference(reference.path, reference.node, file, [...above, file]);
      if (below !== undefined) merged = merged === undefined ? below : mergeMappings(merged, below);
    }
    const own = withoutKeys(root, ['extends']);
    return merged === undefined ? own : mergeMappings(merged, own);
  }

  private add(findings: readonly Finding[]): void {
    for (const finding of findings) this.findings.push(finding);
  }

  private async readReference(
    reference: string,
    node: SourceNode,
    from: string,
    above: readonly string[],
  ): Promise<SourceMapping | undefined> {
    const file = isAbsolute(reference) ? reference : join(dirname(from), reference);
    const refuse = (message: string): SourceMapping | undefined => {
      this.add([{ code: 'SPEC_INVALID', severity: 'error', message, location: node.at }]);
      return undefined;
    };
    const cycle = above.findIndex((other) => join(other) === join(file));
    if (cycle >= 0) {
      return refuse(`extends itself: ${[...above.slice(cycle), file].join(' → ')}`);
    }
    if (++this.extended > MAX_EXTENDED) return refuse(`extends more than ${MAX_EXTENDED} declarations`);
    if (this.readExtended === undefined) return refuse('a declaration without a file cannot extend another');
    let text;
    try {
      text = await this.readExtended(file);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      return refuse(`cannot extend ${quoted(reference)}: ${error.message}`);
    }
    return this.read(text, file, above);
  }
}

function referencesOf(root: SourceMapping): { path: string; node: SourceNode }[] {
  const value = nodeAt(root, ['extends']);
  const nodes = value === undefined ? [] : value.kind === 'list' ? value.items : [value];
  return nodes.flatMap((node) =>
    node.kind === 'scalar' && typeof node.value === 'string' && node.value !== ''
      ? [{ path: node.value, node }]
      : [],
  );
}

interface Variant {
  readonly name: string;
  readonly node: SourceMapping;
}

function variantsOf(root: SourceMapping): Variant[] {
  const list = nodeAt(root, ['variants']);
  return (list?.kind === 'list' ? list.items : []).flatMap((node) => {
    const name = nodeAt(node, ['name']);
    return node.kind === 'mapping' && name?.kind === 'scalar' && typeof name.value === 'string'
      ? [{ name: name.value, node }]
      : [];
  });
}

function applyVariant(root: SourceMapping, variant: SourceMapping): SourceMapping {
  const merged = mergeMappings(withoutKeys(root, ['variants']), withoutKeys(variant, ['name']));
  return { ...merged, at: root.at }; // what is missing is missing from the declaration
}

type JudgedFinding = Pick<SchemaFinding, 'finding' | 'missing'>;

/** Checks a merged declaration, and makes the NodeImage when nothing is wrong. */
function judge(
  root: SourceMapping,
  options: NormaliseOptions & Pick<ParseOptions, 'known'>,
): { readonly image?: NodeImage; readonly findings: readonly JudgedFinding[] } {
  const { value, findings } = applySchema(root, NodeImageInput, 'SPEC_INVALID');
  const relevant: JudgedFinding[] = findings.filter((finding) => !isLackOfVariant(finding));
  const names = options.known === undefined ? [] : checkNames(root, options.known);
  for (const finding of [...checkDeclaration(root), ...names]) relevant.push({ finding, missing: false });
  if (value === undefined) return { findings: relevant };
  const { name, release } = baseOf(value.base, options.defaultRelease);
  if (release === undefined) {
    const message = `base must name a release, such as ${name}@13`;
    const location = locationAt(root, ['base']);
    relevant.push({
      finding: { code: 'SPEC_INVALID', severity: 'error', message, location },
      missing: false,
    });
    return { findings: relevant };
  }
  return { image: normalise(value, release, options), findings: relevant };
}

/** What `update` comes to; nothing where it is not there, or is itself wrong. */
async function readPolicy(
  root: SourceMapping,
  read: ParseOptions['readPolicy'],
): Promise<Awaited<ReturnType<PolicyReader>>> {
  const node = nodeAt(root, ['update']);
  const value = node === undefined ? undefined : applySchema(node, UpdateInput, 'SPEC_INVALID').value;
  if (read === undefined || value === undefined) return { findings: [] };
  // A base that is an image brings its own way to update, which keeps to the policy of containers.
  const agent = nodeAt(root, ['agent']);
  const isOurs =
    agent?.kind === 'scalar' && agent.value !== false && nodeAt(root, ['base'])?.kind === 'scalar';
  return read(value, (path) => locationAt(root, ['update', ...path]), isOurs ? 'agent' : 'others');
}

function withPolicy(image: NodeImage | undefined, policy: HostPolicy | undefined): NodeImage | undefined {
  if (image?.update === undefined || policy === undefined) return image;
  return { ...image, update: { ...image.update, policy } };
}

/** A variant need not be whole; only the declaration with it applied must be. */
function isLackOfVariant(finding: SchemaFinding): boolean {
  return finding.missing && finding.path[0] === 'variants' && finding.path.length > 3;
}

/**
 * The findings of a merged declaration that no file by itself has shown. Merging moves list entries, so one mistake
 * can come back under another path, but never at another place; what is missing has no place of its own.
 */
function newOnes(judged: readonly JudgedFinding[], earlier: readonly Finding[]): Finding[] {
  const places = new Set(earlier.map(({ location }) => placeKey(location)));
  const said = new Set(earlier.map(({ location, message }) => placeKey(location) + message));
  return judged
    .filter(({ finding: { location, message }, missing }) =>
      missing ? !said.has(placeKey(location) + message) : !places.has(placeKey(location)),
    )
    .map(({ finding }) => finding);
}

function unknownVariant(variant: string, names: readonly string[], file: string): IngotError {
  const near = nearest(variant, names);
  return new IngotError('IMAGE_UNKNOWN', `${file} has no variant ${quoted(variant)}`, {
    hint:
      names.length === 0
        ? 'it declares no variants: leave --variant out'
        : `${near[0] === undefined ? '' : `did you mean ${quoted(near[0])}? `}it declares: ${names.join(', ')}`,
  });
}

/** Names that differ between the declaration and the NodeImage. */
const WRITTEN_AS: Readonly<Record<string, string>> = {
  'base.name': 'use',
  architecture: 'arch',
  timeoutSeconds: 'timeout',
};

function sourceMap(root: SourceMapping): SourceMap {
  const written = (path: readonly (string | number)[]): (string | number)[] =>
    path.map((step, index) =>
      typeof step === 'number'
        ? step
        : (WRITTEN_AS[`${String(path[index - 1])}.${step}`] ?? WRITTEN_AS[step] ?? step),
    );
  return {
    at: (path) => locationAt(root, written(path)),
    keyAt: (path) => keyLocationAt(root, written(path)),
  };
}

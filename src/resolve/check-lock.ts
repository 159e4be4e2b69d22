/** Whether a lock still holds for its declaration, the catalogue and this builder. Pure. */
import { headersOf } from '../packages/kernels.ts';
import type { Catalog } from '../catalog/layer.ts';
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { declarationDigest } from '../spec/normalise.ts';
import { ImageVersion } from '../spec/schema.ts';
import { choiceOf, contradictions, kernelFlavour } from './choice.ts';
import { boundOddities } from './lock-bound.ts';
import { agentChanges, lockAgent, type AgentFacts } from './lock-agent.ts';
import { layersOf, type LayerRequest } from './layers.ts';
import { familyOf, type Lock } from './lock.ts';

/** What the builder itself brings to the bits. */
export interface BuilderFacts {
  readonly compressor: Lock['compressor'];
  readonly toolsDefinition: Digest;
  /** What this builder would put on a node of itself; for an image that asks for it. */
  readonly agent?: AgentFacts;
  /** Digests of the patches that it has, by name; left out where no lock with patches is looked at. */
  readonly patches?: ReadonlyMap<string, string>;
}

export interface StaleReason {
  readonly what: 'lock' | 'declaration' | 'layer' | 'modules' | 'compressor' | 'tools' | 'agent';
  readonly message: string;
}

/** Why the lock no longer holds; empty when it does. */
export function checkLock(
  lock: Lock,
  image: NodeImage,
  catalog: Catalog,
  builder: BuilderFacts,
): readonly StaleReason[] {
  const reasons: StaleReason[] = [];
  if (lock.declaration !== declarationDigest(image)) {
    reasons.push({ what: 'declaration', message: 'the declaration has changed' });
  }
  const wrong = oddities(lock, image);
  reasons.push(...wrong.map((message) => ({ what: 'lock' as const, message })));
  reasons.push(...staleLayers(lock, image, catalog, builder.agent));
  const modules = staleModules(lock, builder);
  reasons.push(...modules.map((message) => ({ what: 'modules' as const, message })));
  const { compressor, toolsDefinition } = builder;
  if (lock.compressor.version !== compressor.version || lock.compressor.level !== compressor.level) {
    const describe = ({ name, version, level }: Lock['compressor']): string =>
      `${name} ${version} level ${level}`;
    reasons.push({
      what: 'compressor',
      message: `it was made for ${describe(lock.compressor)}, this builder has ${describe(compressor)}`,
    });
  }
  if (lock.tools.definition !== toolsDefinition) {
    reasons.push({ what: 'tools', message: 'the definition of the tools root has changed' });
  }
  return reasons;
}

/** The lock's layers held against those that its own choice means for this declaration and catalogue. */
function staleLayers(
  lock: Lock,
  image: NodeImage,
  catalog: Catalog,
  agent: AgentFacts | undefined,
): StaleReason[] {
  const reasons: StaleReason[] = [];
  const report = (message: string): void => {
    reasons.push({ what: 'layer', message });
  };
  const choice = choiceOf(lock, catalog);
  contradictions(image, choice).forEach(report);
  let layers: readonly LayerRequest[];
  try {
    layers = layersOf(image, catalog, choice, familyOf(lock));
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    return [...reasons, { what: 'layer', message: error.message }];
  }
  const locked = new Map(lock.layers.map((layer) => [layer.name, layer]));
  for (const layer of layers) {
    const before = locked.get(layer.name);
    locked.delete(layer.name);
    if (before === undefined) {
      report(`the layer ${layer.name} is not in it`);
    } else if (before.definition?.digest !== layer.definition?.digest) {
      report(`the definition of the layer ${layer.name} has changed`);
    }
  }
  for (const name of locked.keys()) report(`the layer ${name} is no longer part of the image`);
  const isThere = layers.some(({ kind }) => kind === 'agent');
  // One that came or went has been told by its layer.
  if (isThere === lock.layers.some(({ kind }) => kind === 'agent')) {
    const changes = agentChanges(lock.agent, lockAgent(layers, agent));
    reasons.push(...changes.map((message) => ({ what: 'agent' as const, message })));
  }
  const order = layers.map(({ name }) => name);
  if (reasons.length === 0 && order.some((name, i) => lock.layers[i]?.name !== name)) {
    report(`its layers are not in the order ${order.join(', ')}`);
  }
  return reasons;
}

/** Why the kernel modules cannot be built as the lock says. */
function staleModules({ modules = [], compile, kernel }: Lock, { patches }: BuilderFacts): string[] {
  if (modules.length === 0) return [];
  if (compile === undefined) return ['it does not say what its kernel modules are built with'];
  const found: string[] = [];
  if (!compile.packages.some(({ name }) => name === headersOf(kernel))) {
    found.push(`it builds kernel modules without the headers of ${kernel.release}`);
  }
  for (const { name, sha256 } of modules.flatMap((one) => one.patches ?? [])) {
    if (patches !== undefined && patches.get(name) !== sha256) found.push(`the patch ${name} has changed`);
  }
  return found;
}

/** What no lock that Ingot wrote for this image says: somebody has edited it, or took another one's place. */
function oddities(lock: Lock, image: NodeImage): string[] {
  const found: string[] = [];
  const claim = (what: string, has: string | undefined, wants: string | undefined): void => {
    if (has !== wants) found.push(`its ${what} is ${has ?? 'none'} instead of ${wants ?? 'none'}`);
  };
  claim('name', lock.name, image.name);
  claim('variant', lock.variant, image.variant);
  if (image.base.image !== undefined || lock.base.image !== undefined) {
    claim('base', lock.base.image?.reference, image.base.image);
  } else {
    claim('base', `${lock.base.name}@${lock.base.release}`, `${image.base.name}@${image.base.release}`);
  }
  claim('kernel', lock.kernel.flavour, kernelFlavour(image, { kernel: lock.kernel.flavour }));
  if (image.version !== undefined) claim('version', lock.version, image.version);
  if (!ImageVersion.safeParse(lock.version).success) {
    found.push(`its version ${JSON.stringify(lock.version)} cannot be one`);
  }
  for (const { digest } of image.runtimes ?? []) {
    if (digest === undefined || lock.containers?.some((container) => container.digest === digest)) continue;
    found.push(`it lacks the container ${digest}`);
  }
  found.push(...boundOddities(lock, image));
  const layers = lock.layers.map((layer) => layer.name);
  found.push(...repeated(layers).map((name) => `the layer ${name} is in it twice`));
  const roots = [
    lock.layers.flatMap((layer) => layer.packages),
    lock.tools.packages,
    lock.compile?.packages ?? [],
    lock.rpm?.packages ?? [],
  ];
  for (const packages of roots) {
    found.push(
      ...repeated(packages.map(({ name }) => name)).map((name) => `the package ${name} is in it twice`),
    );
  }
  return found;
}

function repeated(names: readonly string[]): string[] {
  return [...new Set(names.filter((name, index) => names.indexOf(name) !== index))];
}

/** @throws IngotError LOCK_STALE with all reasons and the command that mends it */
export function requireFresh(
  reasons: readonly StaleReason[],
  lockFile: string,
  declarationFile: string,
): void {
  if (reasons.length === 0) return;
  throw new IngotError(
    'LOCK_STALE',
    `${lockFile} is stale: ${reasons.map((reason) => reason.message).join('; ')}`,
    { hint: `\`ingot lock ${quote(declarationFile)}\` makes it anew and keeps the versions that still fit` },
  );
}

function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** Lock → Plan. Pure. */
import { healthCheck } from '../spec/health-check.ts';
import { posix } from 'node:path';

import type { Catalog, CatalogLayer, LayerInstall, PackageFamily } from '../catalog/layer.ts';
import { digestOfJson, type Digest } from '../digest.ts';
import { choiceOf } from '../resolve/choice.ts';
import { layersOf, type LayerRequest } from '../resolve/layers.ts';
import { familyOf, type Lock, type LockedLayer } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { boundFiles, boundOf, boundService, layerQuadlets } from './bound.ts';
import { GROUP_BYTES, MAX_CHUNKS, planChunks, type PlanChunk } from './chunks.ts';
import { factsOfLock } from './image-facts.ts';
import { initramfsChunk, planInitramfs } from './plan-initramfs.ts';
import { inputOf, planModules, type ModuleFacts } from './plan-modules.ts';
import { updateFiles } from './update-files.ts';
import { updateUnits } from './update-units.ts';
import {
  RPM_DATABASE_PLACE,
  type Plan,
  type PlannedFile,
  type PlannedTree,
  type PlannedUnit,
  type PlanStep,
  type RpmInput,
  type SealInput,
} from './plan.ts';

export interface PlanInput {
  readonly image: NodeImage;
  readonly lock: Lock;
  /** The one that the lock holds for; see `checkLock`. */
  readonly catalog: Catalog;
  /** Digest over the code that builds. What it does to the bits can't be told, so it is in every key. */
  readonly builder: Digest;
  /** For a lock with kernel modules. */
  readonly modules?: ModuleFacts | undefined;
  /** For a lock with rpm packages: digest over the code that makes the root which rpm runs from. */
  readonly rootBuilder?: Digest | undefined;
}

export function makePlan({ image, lock, catalog, builder, modules, rootBuilder = builder }: PlanInput): Plan {
  const family = familyOf(lock);
  const requests = new Map(
    layersOf(image, catalog, choiceOf(lock, catalog), family).map((request) => [request.name, request]),
  );
  const layers = new Map<string, CatalogLayer>();
  for (const { name, definition } of requests.values()) {
    if (definition !== undefined) layers.set(name, definition);
  }
  const architecture = lock.base.architecture;
  const common = { builder, architecture };
  const rpm = planRpm(lock, rootBuilder);
  const steps: PlannedTree[] = [];
  const base = lock.layers[0];
  if (base === undefined) throw new TypeError('a lock has at least the base layer');
  const keys = new Map<string, Digest>();
  const onImage = planImageBase(lock, common, rpm);
  steps.push(...onImage);
  for (const step of onImage) keys.set(step.name, step.treeKey);
  for (const layer of onImage.length > 0 ? lock.layers.slice(1) : lock.layers) {
    const isBase = layer === base;
    // Just what the layer says it needs, so that a change in another one leaves this one alone.
    const below = requests.get(layer.name)?.below ?? [];
    const needs = [
      ...onImage.map(({ name }) => name),
      ...below.filter((name) => !onImage.some((step) => step.name === name)),
    ];
    const definition = layers.get(layer.name);
    const files = [...layerFiles(definition, lock, family), ...layerQuadlets(definition, layer, lock)];
    const epoch = secondsOf(layer.created);
    const kind = isBase ? 'base' : rpm === undefined ? 'unpack' : 'install';
    const packages = layer.packages.map(inputOf);
    const belowKeys = needs.map((name) => keys.get(name));
    const by = rpm === undefined ? {} : { tools: rpm.tools.treeKey, database: rpm.database };
    const treeKey = digestOfJson({ ...common, kind, packages, files, epoch, below: belowKeys, ...by });
    keys.set(layer.name, treeKey);
    steps.push({
      name: layer.name,
      kind,
      treeKey,
      needs,
      packages: layer.packages,
      files,
      epoch,
      summary: summaryOf(layer),
      ...(rpm !== undefined && { rpm }),
    });
    if (layer.name === 'kernel') steps.push(...planModules(lock, modules));
  }
  const seal = sealInput(image, lock, layers, [...requests.values()], family);
  const epoch = secondsOf(lock.created);
  const files = [...image.files, ...updateFiles(image, lock), ...boundFiles(image, lock)];
  const initramfs = planInitramfs({ lock, steps, files, common });
  // Right above what it stands on.
  if (initramfs !== undefined) {
    const top = steps.findLastIndex(({ name }) => initramfs.needs.includes(name));
    steps.splice(top + 1, 0, initramfs);
  }
  const needs = steps.map((step) => step.name);
  steps.push({
    name: 'seal',
    kind: 'seal',
    treeKey: digestOfJson({
      ...common,
      kind: 'seal',
      seal,
      files,
      epoch,
      below: steps.map((step) => step.treeKey),
    }),
    needs,
    packages: [],
    files,
    epoch,
    summary: `configuration, ${initramfs === undefined ? 'initramfs, ' : ''}accounts, units`,
    ...(rpm !== undefined && { rpm }),
  });
  const divided = divideSteps(steps, lock, modules?.packer);
  const lockDigest = digestOfJson(lock);
  const bound = boundOf(lock, image);
  return {
    name: lock.name,
    version: lock.version,
    ...(image.summary !== undefined && { description: image.summary }),
    epoch,
    architecture,
    kernelRelease: lock.kernel.release,
    facts: {
      ...factsOfLock(lock),
      ...(image.update !== undefined && { update: image.update }),
      ...(bound !== undefined && { bound }),
    },
    lock: lockDigest,
    compressionLevel: lock.compressor.level,
    steps: divided,
    seal,
    key: digestOfJson({ lock: lockDigest, builder, steps: divided.map((step) => step.key) }),
  };
}

/**
 * For what is small and pulled often: a driver, and the seal, which every change makes anew. A driver of 120 MB takes
 * a second and a half more than at level 3, and a twentieth less to pull.
 */
const DENSE_LEVEL = 9;
/** Where an initramfs may be. */
const DENSE_KINDS: ReadonlySet<PlannedTree['kind']> = new Set(['initramfs', 'seal']);
/** Modules have been compiled for minutes. */
const MODULES_LEVEL = 19;

/** What turns each tree into blobs. All steps at once, since they share the number of blobs an image may have. */
function divideSteps(all: readonly PlannedTree[], lock: Lock, packer: Digest | undefined): PlanStep[] {
  const [base] = all;
  // The layers of an image are divided as they are, whatever this code is.
  const given: PlanStep[] =
    base?.image === undefined
      ? []
      : [{ ...base, key: digestOfJson({ kind: base.kind, image: base.image.digest }), chunks: [] }];
  const steps = all.slice(given.length);
  const drivers = new Set(lock.layers.filter(({ kind }) => kind === 'driver').map(({ name }) => name));
  const atLeast = (level: number): number => Math.max(level, lock.compressor.level);
  const chunks = planChunks(
    steps.map((step) => ({
      ...step,
      ...((drivers.has(step.name) || DENSE_KINDS.has(step.kind)) && { level: atLeast(DENSE_LEVEL) }),
      ...(step.kind === 'modules' && { level: atLeast(MODULES_LEVEL) }),
      // The source of modules is not in the image.
      packages: step.kind === 'modules' ? [] : step.packages,
      extra: [...blobChunks(step), ...(DENSE_KINDS.has(step.kind) ? [initramfsChunk(lock)] : [])],
    })),
    MAX_CHUNKS - (base?.image?.layers.length ?? 0),
  );
  const divided = steps.map((step, index) => {
    const own = chunks[index] ?? [];
    const key = digestOfJson({
      tree: step.treeKey,
      chunks: own,
      compressor: lock.compressor,
      // The other trees' keys have it among all the code that builds.
      ...(step.kind === 'modules' && { packer }),
    });
    return { ...step, key, chunks: own };
  });
  return [...given, ...divided];
}

/** The image that is built on, and what makes room for ours on it. */
function planImageBase(
  { base, created, layers: locked }: Lock,
  common: { readonly builder: Digest; readonly architecture: string },
  rpm: RpmInput | undefined,
): PlannedTree[] {
  if (base.image === undefined) return [];
  const { reference, digest, family, database, layers } = base.image;
  const image = { reference, digest, family, ...(database !== undefined && { database }), layers };
  const shared = { packages: [], files: [], image };
  const treeKey = digestOfJson({ ...common, kind: 'image-base', digest });
  // As long as the base stays: a new lock of other things leaves all that stands on it as it is.
  const epoch = secondsOf(locked.find(({ name }) => name === 'base')?.created ?? created);
  return [
    {
      ...shared,
      name: 'base',
      kind: 'image-base',
      treeKey,
      needs: [],
      epoch: 0, // never archived
      summary: `${reference}, ${layers.length} layers`,
    },
    {
      ...shared,
      name: 'settle',
      kind: 'settle',
      treeKey: digestOfJson({
        ...common,
        kind: 'settle',
        epoch,
        below: [treeKey],
        rpm: rpm?.database ?? null,
      }),
      needs: ['base'],
      epoch,
      summary: 'package database, /var',
      ...(rpm !== undefined && { rpm }),
    },
  ];
}

/** Large files each for itself, and without a time of the layer's: the same as long as their bytes are. */
function blobChunks({ files }: PlannedTree): PlanChunk[] {
  return files.flatMap((file) => {
    if (!('blob' in file) || file.blob.size <= GROUP_BYTES) return [];
    return [{ name: posix.basename(file.path), packages: [], paths: [file.path.slice(1)], epoch: 0 }];
  });
}

/** The tools root as a step: a base of its own, that becomes a tree and never a blob. */
export function planTools(lock: Pick<Lock, 'tools'>, builder: Digest): PlannedTree {
  const { packages, suite } = lock.tools;
  return {
    name: 'tools',
    kind: 'base',
    treeKey: digestOfJson({ kind: 'tools', builder, packages: packages.map(inputOf) }),
    needs: [],
    packages,
    files: [],
    epoch: 0, // never archived
    summary: `${packages.length} packages of ${suite}`,
  };
}

/** What installs packages, where the base has rpm's and some are added. */
function planRpm({ base, rpm }: Lock, rootBuilder: Digest): RpmInput | undefined {
  if (rpm === undefined) return undefined;
  const { database = RPM_DATABASE_PLACE } = base.image ?? {};
  return {
    tools: planRpmTools(rpm, rootBuilder),
    database: database.startsWith('/var/') ? RPM_DATABASE_PLACE : database,
  };
}

/** The same of the root that rpm and dnf run from. */
export function planRpmTools(
  { packages }: Pick<NonNullable<Lock['rpm']>, 'packages'>,
  rootBuilder: Digest,
): PlannedTree {
  return {
    name: 'rpm-tools',
    kind: 'base',
    treeKey: digestOfJson({ kind: 'rpm-tools', rootBuilder, packages: packages.map(inputOf) }),
    needs: [],
    packages,
    files: [],
    epoch: 0, // never archived
    summary: `${packages.length} packages`,
  };
}

function secondsOf(isoTime: string): number {
  return Math.floor(Date.parse(isoTime) / 1000);
}

function summaryOf(layer: LockedLayer): string {
  const { length } = layer.packages;
  const what = layer.definition === undefined ? 'declared packages' : layer.definition.name;
  return `${what}, ${length} ${length === 1 ? 'package' : 'packages'}`;
}

function installOf(
  layer: CatalogLayer | undefined,
  family: PackageFamily,
): Pick<LayerInstall, 'files' | 'units' | 'kernelArguments'> | undefined {
  return layer?.definition.install[family];
}

function layerFiles(layer: CatalogLayer | undefined, { agent }: Lock, family: PackageFamily): PlannedFile[] {
  return (installOf(layer, family)?.files ?? []).map(({ path, mode, product }): PlannedFile => {
    const place = { path, mode, user: 'root', group: 'root' };
    if (product !== undefined) {
      const locked = agent?.files.find(({ name }) => name === product);
      if (locked === undefined) throw new TypeError(`the lock has no ${product}`);
      return { ...place, blob: { digest: locked.digest, size: locked.size } };
    }
    const content = layer?.contents.get(path);
    if (content === undefined) throw new TypeError(`the catalogue has not read ${path}`);
    return { ...place, content };
  });
}

function sealInput(
  image: NodeImage,
  lock: Lock,
  layers: ReadonlyMap<string, CatalogLayer>,
  requests: readonly LayerRequest[],
  family: PackageFamily,
): SealInput {
  const used = lock.layers.flatMap((locked) => {
    const layer = layers.get(locked.name);
    return layer === undefined ? [] : [{ name: locked.name, layer }];
  });
  // Not the layer's file: where a checkout lies must not change a key.
  const layerUnits = used.flatMap(({ name, layer }): PlannedUnit[] =>
    (installOf(layer, family)?.units ?? []).map((unit) => ({
      name: unit.name,
      masked: unit.masked,
      origin: `the layer ${name}`,
      ...(unit.enabled !== undefined && { enabled: unit.enabled }),
    })),
  );
  const declaredUnits = image.units.map((unit, declared): PlannedUnit => ({
    ...unit,
    declared,
    origin: 'units',
  }));
  const layerArguments = used.map(({ name, layer }) => ({
    origin: name,
    values: installOf(layer, family)?.kernelArguments ?? [],
  }));
  const layerHealth = used.flatMap(({ name, layer }) =>
    layer.definition.health.map(({ timeout, ...check }) => {
      const { run, ...rest } = healthCheck({ ...check, timeoutSeconds: timeout });
      const isAgent = name === lock.agent?.layer;
      return { ...rest, run: isAgent ? run.replaceAll('{version}', lock.agent?.version ?? '') : run };
    }),
  );
  const content = boundOf(lock, image);
  const bound = content === undefined ? undefined : boundService(content);
  return {
    imageName: lock.name,
    version: lock.version,
    kernelRelease: lock.kernel.release,
    ...(image.hostname !== undefined && { hostname: image.hostname }),
    groups: image.groups,
    users: image.users,
    units: [
      ...layerUnits,
      ...(bound === undefined ? [] : [bound.unit]),
      ...(image.update?.unattended === undefined ? [] : updateUnits(image.update.unattended)),
      ...declaredUnits,
    ],
    kernelArguments: [...layerArguments, { origin: 'declaration', values: image.kernelArguments }].filter(
      ({ values }) => values.length > 0,
    ),
    health: [...layerHealth, ...(bound === undefined ? [] : [bound.health]), ...image.health],
    ...marksOf(lock, requests),
    ...(lock.base.image !== undefined && { family: lock.base.image.family }),
  };
}

/** Automatic is what is neither Essential nor named by a layer or the declaration. */
function marksOf(
  { base, kernel, layers }: Lock,
  requests: readonly LayerRequest[],
): Pick<SealInput, 'automatic' | 'manual'> {
  if (base.image !== undefined && base.image.family !== 'debian') return {};
  const asked = new Set(
    requests.flatMap(({ packages }) => packages.map((text) => text.replace(/[=:/].*$/, ''))),
  );
  const automatic = layers
    .flatMap(({ packages }) => packages)
    .filter(({ name, essential }) => essential !== true && name !== kernel.package && !asked.has(name))
    .map(({ name, architecture }) => ({
      name,
      // apt has packages for all architectures under the system's own.
      architecture: architecture === 'all' ? base.architecture : architecture,
    }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
  return { automatic, ...(base.image !== undefined && { manual: [...asked].sort() }) };
}

/** How each kind of step fills its tree. */
import { lstatSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { Location } from '../errors.ts';
import { INITRAMFS } from '../plan/plan-initramfs.ts';
import type { PlannedTree, SealInput } from '../plan/plan.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import type { GrowingArchives } from './archive/growing-archives.ts';
import { allowServices, bootstrapRoot, forbidServices } from './debian/bootstrap.ts';
import { compileBytecode } from './debian/bytecode.ts';
import { DATABASE, loadDatabase, type DpkgDatabase } from './debian/database.ts';
import { DisplacedFile } from './debian/stand-ins.ts';
import { unpackPackages } from './debian/unpack-packages.ts';
import { assertNoOverlap } from './layer-overlap.ts';
import { assertLints, LINTS } from './lint.ts';
import { inOverlay, type BelowTree } from './overlay.ts';
import { dropNeedlessCopies } from './needless-copies.ts';
import { writePlannedFiles } from './planned-files.ts';
import { RootFs } from './root-fs.ts';
import { isLeftToSeal, isSealedDatabase } from './rpm/install-tree.ts';
import type { SandboxOptions } from './sandbox.ts';
import { settleKernelFiles } from './seal/boot.ts';
import { removeIdentity } from './seal/identity.ts';
import { sealRoot } from './seal/seal.ts';
import { settleIds } from './seal/stable-ids.ts';

export interface StepOptions {
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  readonly scriptSilenceMs?: number | undefined;
  /** Bytes from which packages of a layer are unpacked side by side (`unpackPackages`). */
  readonly standInsFrom?: number | undefined;
  /** Makes archives of them meanwhile (`makeUnpackTree`). */
  readonly growing?: GrowingArchives | undefined;
  readonly locate?: ((path: readonly (string | number)[]) => Location) | undefined;
}

/** A configured root from nothing but packages, in the layout of a bootable container. */
export async function makeBaseTree(root: string, step: PlannedTree, options: StepOptions): Promise<void> {
  const essential = new Set(step.packages.filter((file) => file.essential).map((file) => file.name));
  await bootstrapRoot(root, { ...options, packages: step.packages, essential, epoch: step.epoch });
  const fs = new RootFs(root);
  await compileBytecode(fs, step.packages, { root, epoch: step.epoch }, options);
  await settleIds(fs, root, { users: [], groups: [] }, options.signal);
  await writePlannedFiles(fs, step.files, options.store);
  await layOutForOstree(fs);
  await removeIdentity(fs);
}

/** A configured root that programs run from; it never becomes an image. */
export async function makeToolsTree(root: string, step: PlannedTree, options: StepOptions): Promise<void> {
  const essential = new Set(step.packages.filter((file) => file.essential).map((file) => file.name));
  await bootstrapRoot(root, { ...options, packages: step.packages, essential, epoch: step.epoch });
}

/** What unpacking the step's packages over `below` adds. Nothing is configured: that is the seal's. */
export async function makeUnpackTree(
  root: string,
  step: PlannedTree,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  try {
    await unpackStep(root, step, below, options);
  } catch (error) {
    if (!(error instanceof DisplacedFile)) throw error;
    options.reporter.debug(`${step.name}: dpkg unpacks everything itself: ${error.message}`);
    for (const name of await readdir(root)) await rm(join(root, name), { recursive: true });
    await unpackStep(root, step, below, { ...options, standInsFrom: Infinity });
  }
}

async function unpackStep(
  root: string,
  step: PlannedTree,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  await inOverlay(root, below, options, async (merged, namespace, fs) => {
    const sandbox: SandboxOptions = {
      root: merged,
      namespace,
      packages: options.store.path('packages'),
      epoch: step.epoch,
    };
    if (step.packages.length > 0) {
      await forbidServices(fs);
      await unpackPackages(step.packages, fs, sandbox, options);
      await allowServices(fs);
      await compileBytecode(fs, step.packages, sandbox, options);
    }
    await writePlannedFiles(fs, step.files, options.store);
    await settleKernelFiles(fs);
  });
}

/** The seal over all layers, `below` lowest first, the base among them. Lints the whole before it counts. */
export async function makeSealTree(
  root: string,
  step: PlannedTree,
  input: SealInput,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  const [base, ...layers] = below;
  if (base === undefined) throw new TypeError('a seal needs a base');
  assertNoOverlap(layers, isLeftOut);
  const baseDatabase = await loadDatabase(new RootFs(base.root), base.name);
  const initramfs = below.find(({ name }) => name === INITRAMFS);
  const layerDatabases: DpkgDatabase[] = [];
  for (const layer of layers) layerDatabases.push(await loadDatabase(new RootFs(layer.root), layer.name));
  await inOverlay(root, below, options, async (merged, namespace, fs) => {
    await sealRoot(fs, {
      ...options,
      input,
      written: root,
      files: step.files,
      baseDatabase,
      layerDatabases,
      initramfs: initramfs && {
        root: initramfs.root,
        beside: layers.filter((layer) => layer !== initramfs && !initramfs.needs.includes(layer.name)),
      },
      sandbox: { root: merged, namespace, epoch: step.epoch },
    });
    await options.reporter.stage('Check image', async (stage) => {
      await assertLints(fs.root, input, options);
      stage.detail(`${LINTS.length} checks passed`);
    });
  });
  await dropCopies(root, step, below, options);
}

/** Of files that the archives of the layers below have as they are: the seal needs none of its own. */
export async function dropCopies(
  root: string,
  { rpm }: PlannedTree,
  below: readonly BelowTree[],
  { signal }: Pick<StepOptions, 'signal'>,
  { isChain = false }: { readonly isChain?: boolean } = {},
): Promise<void> {
  await dropNeedlessCopies(
    root,
    below.map((tree) => tree.root),
    { isLeftOut: leftToSeal(rpm), isChain, signal },
  );
}

/** Directories of the node's own become links into /var; /sysroot and /ostree are where ostree wants them. */
async function layOutForOstree(fs: RootFs): Promise<void> {
  for (const name of ['home', 'srv', 'mnt']) await fs.link(`/${name}`, `var/${name}`);
  await fs.link('/root', 'var/roothome');
  await fs.link('/media', 'run/media');
  await fs.makeDirectory('/sysroot');
  await fs.link('/ostree', 'sysroot/ostree');
  await fs.makeDirectory('/boot');
}

const DATABASE_FOLDER = DATABASE.slice(1);
/** Contents of these belong to the node or to nobody; the directories themselves stay. */
const NOT_IN_LAYERS = /^(?:var|run|tmp|boot|dev|proc|sys)\/./;
/** What the seal writes for the whole stack: no layer carries a copy that the next one covers. */
const SEALED_DATABASE = new RegExp(
  `^${DATABASE_FOLDER}/(?:status|diversions|statoverride|triggers/.*|updates/.*)$`,
);
/**
 * Configuration files between unpacking and configuring, and what dpkg keeps for itself: in no layer, nor in the seal
 * the marks that they are gone.
 */
const DEBRIS = new RegExp(`\\.dpkg-new$|^${DATABASE_FOLDER}/(?:available|lock.*|.*-old)$`);

/** True for paths (relative to the tree) that the archives of layers under a seal leave out. */
function isLeftOut(path: string): boolean {
  return NOT_IN_LAYERS.test(path) || DEBRIS.test(path) || SEALED_DATABASE.test(path);
}

function leftToSeal(rpm: PlannedTree['rpm']): (path: string) => boolean {
  return (path) => isLeftOut(path) || (rpm !== undefined && isLeftToSeal(path, rpm));
}

/**
 * True for paths (relative to the tree) that the step's archive leaves out.
 *
 * @param base root of the image that this one is built on: what the seal takes away of it is taken away wherever it is
 */
export function leftOutOf(step: PlannedTree, tree: string, base: string | undefined): (path: string) => boolean {
  const { rpm } = step;
  const isLeftOutHere = leftToSeal(rpm);
  if (step.kind !== 'seal') return isLeftOutHere;
  const isRemoval = (path: string): boolean => {
    const stats = lstatSync(join(tree, path), { throwIfNoEntry: false });
    return stats?.isCharacterDevice() === true && stats.rdev === 0;
  };
  // Of dpkg's database, only layers of an image have what the seal could take away.
  if (base === undefined)
    return (path) =>
      NOT_IN_LAYERS.test(path) || DEBRIS.test(path) || (SEALED_DATABASE.test(path) && isRemoval(path));
  return (path) => {
    if (!isLeftOutHere(path)) return false;
    if (isRemoval(path)) return lstatSync(join(base, path), { throwIfNoEntry: false }) === undefined;
    return !SEALED_DATABASE.test(path) && (rpm === undefined || !isSealedDatabase(path, rpm));
  };
}

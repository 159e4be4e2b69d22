/**
 * The step that makes the module index and the initramfs beside the layers that have nothing to do with them, so that a
 * change of those finds both in the store. Pure.
 *
 * It stands on the base, the kernel and its modules alone. What else goes into an initramfs is told from the layers
 * themselves when they are sealed (`findInfluence`); of that, only files of layer definitions are known before.
 */
import { digestOfJson, type Digest } from '../digest.ts';
import type { Lock } from '../resolve/lock.ts';
import type { PlanChunk } from './chunks.ts';
import type { PlannedFile, PlannedTree } from './plan.ts';

/** The step's name, and that of the chunk with nothing but the initramfs, in its layer or the seal's. */
export const INITRAMFS = 'initramfs';

/** Folders of dracut, kmod and the services in an initramfs, which take whatever stands there. */
const FOLDERS =
  /^(?:(?:etc|usr\/lib)\/(?:depmod\.d|ostree)|etc\/(?:dracut\.conf\.d|ndctl)|usr\/lib\/(?:dracut|modules|modules-load\.d|sysctl\.d|systemd\/(?:system|journald)\.conf\.d|udev\/udev\.conf\.d))\/./;
const FILES = new Set(['etc/dracut.conf']);
/** Leaves out and does nothing else, so that it holds whatever is in the image. */
const ONLY_OMITS = /^(?:\s*(?:#.*)?\n|\s*omit_(?:drivers|dracutmodules)\+=" [\w\s-]* "\s*\n)*$/;

/** @param path of a file in the image, relative to the root */
export function isInitramfsPlace(path: string): boolean {
  return FOLDERS.test(path) || FILES.has(path);
}

/** Whether the file can go into every initramfs of a plan, whichever layer brings it. */
export function isInitramfsSetting(file: PlannedFile): boolean {
  return (
    /^\/usr\/lib\/dracut\/dracut\.conf\.d\/[^/]+\.conf$/.test(file.path) &&
    'content' in file &&
    ONLY_OMITS.test(file.content)
  );
}

export interface InitramfsPlanInput {
  readonly lock: Lock;
  /** All below the seal, lowest first. */
  readonly steps: readonly PlannedTree[];
  /** Files of the declaration. */
  readonly files: readonly PlannedFile[];
  readonly common: { readonly builder: Digest; readonly architecture: string };
}

/**
 * None where the base is an image, which has an initramfs of its own, or where files are declared that only a look at
 * the whole image can answer: there the seal makes both.
 */
export function planInitramfs({ lock, steps, files, common }: InitramfsPlanInput): PlannedTree | undefined {
  const brings = kernelLayer(lock);
  const top = steps.find(({ name }) => name === brings?.name);
  if (lock.base.image !== undefined || top === undefined) return undefined;
  const below = new Set([...closureOf(top, steps), ...modulesOf(steps)]);
  const beside = steps.filter((step) => !below.has(step)).flatMap((step) => step.files);
  const settings = beside.filter(isInitramfsSetting);
  const others = [...beside.filter((file) => !settings.includes(file)), ...files];
  if (others.some(({ path }) => isInitramfsPlace(path.slice(1)))) return undefined;
  const needs = steps.filter((step) => below.has(step));
  const { epoch } = top;
  return {
    name: INITRAMFS,
    kind: 'initramfs',
    treeKey: digestOfJson({
      ...common,
      kind: 'initramfs',
      release: lock.kernel.release,
      settings,
      epoch,
      below: needs.map(({ treeKey }) => treeKey),
    }),
    needs: needs.map(({ name }) => name),
    packages: [],
    files: settings,
    epoch,
    summary: 'module index, initramfs',
  };
}

/** The file of an initramfs: nearly all that its layer weighs, and the same until the kernel or the base changes. */
export function initramfsChunk(lock: Lock): PlanChunk {
  return {
    name: INITRAMFS,
    packages: [],
    paths: [`usr/lib/modules/${lock.kernel.release}/initramfs.img`],
    epoch: secondsOf(kernelLayer(lock)?.created),
  };
}

function kernelLayer({ kernel, layers }: Lock): Lock['layers'][number] | undefined {
  return layers.find((layer) => layer.packages.some(({ name }) => name === kernel.package));
}

function closureOf(step: PlannedTree, all: readonly PlannedTree[]): PlannedTree[] {
  const needed = all.filter(({ name }) => step.needs.includes(name));
  return [step, ...needed.flatMap((other) => closureOf(other, all))];
}

function modulesOf(steps: readonly PlannedTree[]): readonly PlannedTree[] {
  return steps.filter(({ kind }) => kind === 'modules');
}

function secondsOf(isoTime: string | undefined): number {
  return isoTime === undefined ? 0 : Math.floor(Date.parse(isoTime) / 1000);
}

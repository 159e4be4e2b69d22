/** Makes the module index and the initramfs of an image before the image is whole. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import type { PlannedTree } from '../../plan/plan.ts';
import { modinfoFieldsArgv } from '../../tools/kmod.ts';
import { readInitramfs } from '../lints/cpio.ts';
import { inOverlay, type BelowTree } from '../overlay.ts';
import { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import { makeModuleIndexAndInitramfs } from '../seal/boot.ts';
import type { StepOptions } from '../steps.ts';
import { settleTimes } from '../tree-times.ts';
import { namesInDracut } from './dracut-names.ts';
import { type InitramfsNotes, NOTES } from './influence.ts';

/** Fills `root` with `usr/lib/modules/<release>/{modules.*,initramfs.img}`, and notes for the seal. */
export async function makeInitramfsTree(
  root: string,
  step: PlannedTree,
  kernelRelease: string,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  const { store, signal } = options;
  // Other layers bring them. A tree below, so that they are no part of this one.
  await using settings = await store.scratch('settings');
  const settingsRoot = join(settings.path, 'root');
  await mkdir(settingsRoot);
  const known = await writeSettings(settingsRoot, step);
  const all = [...below, { name: 'settings', root: settingsRoot, needs: [] }];
  let notes: InitramfsNotes | undefined;
  await inOverlay(root, all, options, async (merged, namespace, fs) => {
    const sandbox: SandboxOptions = { root: merged, namespace, epoch: step.epoch };
    await makeModuleIndexAndInitramfs(fs, kernelRelease, sandbox, options);
    const image = `/usr/lib/modules/${kernelRelease}/initramfs.img`;
    notes = { ...(await readNotes(fs, image, sandbox, signal)), settings: known };
  });
  // What dracut leaves behind is the node's.
  for (const name of await readdir(root)) if (name !== 'usr') await rm(join(root, name), { recursive: true });
  await new RootFs(root).writeFile(NOTES, JSON.stringify(notes));
}

async function writeSettings(root: string, { files, epoch }: PlannedTree): Promise<string[]> {
  const fs = new RootFs(root);
  for (const file of files) {
    if (!('content' in file)) throw new TypeError(`${file.path} is no setting`);
    await fs.writeFile(file.path, file.content, file.mode);
  }
  settleTimes(root, epoch);
  return files.map(({ path }) => path.slice(1));
}

async function readNotes(
  fs: RootFs,
  path: string,
  sandbox: SandboxOptions,
  signal: AbortSignal | undefined,
): Promise<Omit<InitramfsNotes, 'settings'>> {
  const paths: string[] = [];
  let modules = '';
  for await (const entry of readInitramfs(await fs.resolve(path, true), (name) => name === MODULE_LIST)) {
    if ((entry.mode & 0o170000) !== 0o040000) paths.push(entry.path);
    if (entry.path === MODULE_LIST) modules = entry.contents?.toString() ?? '';
  }
  const names = await namesInDracut(fs, new Set(modules.split(/\s+/)));
  const kernel = paths.filter((name) => /\.ko(?:\.\w+)?$/.test(name)).map((name) => `/${name}`);
  const { stdout } = await runInSandbox(modinfoFieldsArgv(kernel, 'firmware'), sandbox, { signal });
  const firmware = [...new Set(stdout.split('\n').filter((line) => line !== ''))].sort();
  return { paths: paths.sort(), names, firmware };
}

/** Names of dracut's own modules, a line each. */
const MODULE_LIST = 'usr/lib/dracut/modules.txt';

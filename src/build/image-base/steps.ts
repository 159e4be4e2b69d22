/** The steps of an image that is built on another one: room for its package database and /var, and its seal. */
import { cp } from 'node:fs/promises';

import type { PlannedImage, PlannedTree, SealInput } from '../../plan/plan.ts';
import { DATABASE } from '../debian/database.ts';
import { inOverlay, type BelowTree } from '../overlay.ts';
import type { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import type { StepOptions } from '../steps.ts';
import { checkOnImage } from './check-on-image.ts';
import { sealOnImage } from './seal-on-image.ts';

/** systemd-tmpfiles(8): some lines could not be used, such as those with users that are not there. */
const TMPFILES_PARTLY = [0, 65, 73];

/**
 * What packages need to be added: the package database where an image has it, which is below /usr, and the directories
 * of /var, which a node would make when it boots.
 */
export async function makeSettleTree(
  root: string,
  step: PlannedTree,
  image: PlannedImage,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  await inOverlay(root, below, options, async (merged, namespace, fs) => {
    const sandbox: SandboxOptions = { root: merged, namespace, epoch: step.epoch };
    // First: the image may have a line that makes the link, in the place of whatever stands there.
    if (image.family === 'debian') await moveDatabase(fs, image.database);
    if (await fs.exists('/usr/bin/systemd-tmpfiles')) {
      await runInSandbox(['systemd-tmpfiles', '--create', '--prefix=/var'], sandbox, {
        signal: options.signal,
        okExitCodes: TMPFILES_PARTLY,
      });
    }
  });
}

async function moveDatabase(fs: RootFs, from: string | undefined): Promise<void> {
  const legacy = '/var/lib/dpkg';
  if (from === legacy) {
    await fs.makeDirectory(DATABASE);
    await cp(await fs.resolve(legacy), await fs.resolve(DATABASE), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    });
  }
  await fs.link(legacy, '../../usr/lib/sysimage/dpkg');
}

/** `below` begins with the image's own tree. */
export async function makeSealOnImageTree(
  root: string,
  step: PlannedTree,
  input: SealInput,
  below: readonly BelowTree[],
  options: StepOptions,
): Promise<void> {
  const [base, ...layers] = below;
  if (base === undefined) throw new TypeError('a seal needs a base');
  await inOverlay(root, below, options, async (merged, namespace, fs) => {
    await sealOnImage(fs, {
      ...options,
      input,
      written: root,
      files: step.files,
      layers: layers.map((layer) => layer.root),
      sandbox: { root: merged, namespace, epoch: step.epoch },
    });
    await options.reporter.stage('Check image', async (stage) => {
      stage.detail(await checkOnImage(base.root, fs.root, input, options));
    });
  });
}

/** The steps of an image that is built on another one: room for its package database and /var, and its seal. */
import { cp } from 'node:fs/promises';

import { RPM_DATABASE_PLACE, type PlannedImage, type PlannedTree, type SealInput } from '../../plan/plan.ts';
import { DATABASE } from '../debian/database.ts';
import { inOverlay, type BelowTree } from '../overlay.ts';
import type { RootFs } from '../root-fs.ts';
import { tidyDatabase } from '../rpm/install-tree.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import { dropCopies, type StepOptions } from '../steps.ts';
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
    if (image.family === 'debian') await moveDatabase(fs, image.database, '/var/lib/dpkg', DATABASE);
    if (image.family === 'rpm' && image.database?.startsWith('/var/') === true) {
      await moveDatabase(fs, image.database, '/var/lib/rpm', RPM_DATABASE_PLACE);
      await tidyDatabase(fs, RPM_DATABASE_PLACE);
    }
    if (await fs.exists('/usr/bin/systemd-tmpfiles')) {
      await runInSandbox(['systemd-tmpfiles', '--create', '--prefix=/var'], sandbox, {
        signal: options.signal,
        okExitCodes: TMPFILES_PARTLY,
      });
    }
  });
}

/** Below /usr, with a link where it was. */
async function moveDatabase(fs: RootFs, from: string | undefined, legacy: string, place: string): Promise<void> {
  if (from === legacy) {
    await fs.makeDirectory(place);
    await cp(await fs.resolve(legacy), await fs.resolve(place), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    });
  }
  await fs.link(legacy, `../..${place}`);
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
      base: base.root,
      layers: layers.map((layer) => layer.root),
      sandbox: { root: merged, namespace, epoch: step.epoch },
      rpm: step.rpm,
    });
    await options.reporter.stage('Check image', async (stage) => {
      stage.detail(await checkOnImage(base.root, fs.root, input, options));
    });
  });
  await dropCopies(root, step, below, options, { isChain: true });
}

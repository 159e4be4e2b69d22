/** What `ingot doctor` looks at on a node, where Ingot is the image's agent and builds nothing. */
import { access, readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';

import { errnoOf } from '../../errors.ts';
import { findProgram } from '../../proc/find-program.ts';
import type { Check } from './check.ts';

/** In the image, says which one it is. */
const OS_RELEASE = '/usr/lib/os-release';
/** libostree makes it when it has booted a deployment. */
const BOOTED = '/run/ostree-booted';

export async function checkImage(): Promise<readonly Check[]> {
  const { IMAGE_ID: id, IMAGE_VERSION: version } = parseEnv((await readIfPresent(OS_RELEASE)) ?? '');
  return [
    id !== undefined && version !== undefined
      ? { name: 'image', status: 'pass', found: `${id} ${version}` }
      : {
          name: 'image',
          status: 'fail',
          found: `${OS_RELEASE} names no image`,
          mend: 'boot an image that Ingot has built',
        },
  ];
}

export async function checkDeployment(): Promise<readonly Check[]> {
  const isBooted = await access(BOOTED).then(
    () => true,
    () => false,
  );
  return [
    isBooted
      ? { name: 'deployment', status: 'pass', found: 'booted from an ostree deployment' }
      : {
          name: 'deployment',
          status: 'warn',
          found: 'not booted from an ostree deployment: this system cannot be updated as a whole',
          mend: 'install the image on a disk (`ingot disk`), and boot that',
        },
  ];
}

export async function checkEngine(): Promise<readonly Check[]> {
  const path = await findProgram('ostree');
  return [
    path !== undefined
      ? { name: 'engine', status: 'pass', found: path }
      : {
          name: 'engine',
          status: 'fail',
          found: 'ostree not found',
          mend: 'the base layer of the image must bring it',
        },
  ];
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

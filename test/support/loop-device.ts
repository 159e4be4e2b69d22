/** A file as a block device. Needs root. */
import { open } from 'node:fs/promises';

import { run } from '../../src/proc/run.ts';

export interface LoopDevice extends AsyncDisposable {
  /** `/dev/loopN` */
  readonly path: string;
}

/** Attaches an empty file of `size` bytes. The device is gone when its last user is, also when the test is killed. */
export async function emptyLoopDevice(file: string, size: number): Promise<LoopDevice> {
  const handle = await open(file, 'w');
  await handle.truncate(size);
  await handle.close();
  const { stdout: path } = await run(['losetup', '--find', '--show', file]);
  const user = await open(path, 'r');
  // With a user, the kernel keeps it until that is gone.
  await run(['losetup', '--detach', path]);
  return {
    path,
    [Symbol.asyncDispose]: () => user.close(),
  };
}

/** A node that runs the image of the tests, with a layout beside it that it can be offered images from. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../../src/proc/run.ts';
import { BootedNode } from './booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from './built-image.ts';
import { testTools } from './derived-image.ts';

export interface TestNode extends AsyncDisposable {
  readonly base: BuiltImage;
  /** On the node it is `GIVEN`. */
  readonly scratch: string;
  /** In it; holds the running image by its version. */
  readonly layout: string;
  readonly node: BootedNode;
}

/** @param prepare before anything is installed: lays out the machine's file systems in its folder */
export async function startTestNode(
  name: string,
  prepare: (machine: string) => Promise<AsyncDisposable | undefined> = () => Promise.resolve(undefined),
): Promise<TestNode> {
  const base = await builtImage();
  const { toolsRoot } = await testTools(base);
  const scratch = await mkdtemp(join(TEST_FOLDER, `${name}-`));
  const layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  const machine = join(scratch, 'machine');
  await mkdir(machine);
  await using made = new AsyncDisposableStack();
  made.defer(() => rm(scratch, { recursive: true, force: true }));
  made.use(await prepare(machine));
  const node = await BootedNode.install(`oci:${layout}:${base.version}`, machine, scratch, toolsRoot);
  const kept = made.move();
  return { base, scratch, layout, node, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

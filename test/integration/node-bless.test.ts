/** What `ingot node bless` does to real deployments, boot entries and GRUB's environment. Needs root. */
import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { readEnvironment, writeEnvironment } from '../../src/node/boot/grub-environment.ts';
import { run } from '../../src/proc/run.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';

let base: BuiltImage;
let scratch: string;
let node: BootedNode;

beforeAll(async () => {
  base = await builtImage();
  const { toolsRoot } = await testTools(base);
  scratch = await mkdtemp(join(TEST_FOLDER, 'node-bless-'));
  const layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  for (const name of ['20991231.2', '20991231.3', '20991231.4']) {
    await addNextImage(layout, base.version, scratch, {
      name,
      fill: (tree) => writeTree(tree, { 'usr/share/version': name }),
    });
  }
  const folder = join(scratch, 'machine');
  await mkdir(folder);
  node = await BootedNode.install(`oci:${layout}:${base.version}`, folder, scratch, toolsRoot);
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

const environmentFile = (): string => node.path('/boot/grub/grubenv');

async function environment(): Promise<object> {
  return Object.fromEntries((await readEnvironment(environmentFile())) ?? []);
}

interface Status {
  readonly boot: { readonly id?: string; readonly next?: string };
  readonly deployments: readonly { readonly version: string }[];
  readonly updates: readonly { readonly outcome: string; readonly version: string }[];
}

async function status(): Promise<Status> {
  return (await node.ingotJson(['node', 'status'])) as unknown as Status;
}

/** Puts an update first in the menu, as going down does, and leaves the node running what it runs. */
async function putFirst(name: string, ...more: readonly string[]): Promise<string> {
  await node.ingotJson(['node', 'switch', `oci:${GIVEN}/layout:${name}`, ...more]);
  await node.finalize();
  const { next } = (await status()).boot;
  if (next === undefined) throw new Error('nothing is first');
  return next;
}

/** As GRUB leaves it when all tries are used up. */
async function giveUp(bootId: string): Promise<void> {
  const before = (await readEnvironment(environmentFile())) ?? new Map<string, string>();
  await writeEnvironment(environmentFile(), new Map([...before, ['try_id', bootId], ['tries', '0']]), []);
}

test('an update becomes good, one that is not is removed and remembered', async () => {
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'nameless' });
  const second = await putFirst('20991231.2');
  await node.powerCycle();
  const place = await stat(environmentFile());
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'good' });
  expect(await environment()).toEqual({ good_id: second });
  expect((await stat(environmentFile())).ino).toBe(place.ino);
  expect(await readFile(node.path('/run/ingot/blessed'), 'utf8')).toBe(`${second}\n`);
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'known' });

  const third = await putFirst('20991231.3');
  // A person chose the second entry: nothing happens to the first.
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'other' });
  expect((await status()).deployments.map(({ version }) => version)).toEqual(['20991231.3', '20991231.2']);

  await giveUp(third);
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({
    verdict: 'back',
    removed: true,
    bad: { bootId: third, version: '20991231.3' },
    reason: 'it was started, and never got as far as its checks',
  });
  expect(await environment()).toEqual({ good_id: second });
  expect(await status()).toMatchObject({
    boot: { id: second, blessed: true },
    deployments: [{ version: '20991231.2' }],
    updates: [
      { version: '20991231.3', outcome: 'settled' },
      { version: '20991231.2', outcome: 'good' },
    ],
  });
  const menu = await readFile(node.path('/boot/loader/grub.cfg'), 'utf8');
  expect(menu).not.toContain(third);
  expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'known' });

  const refused = await node.ingot(['node', 'switch', `oci:${GIVEN}/layout:20991231.3`]);
  expect(refused.stderr).toMatch(/error\[UPDATE_REFUSED\]: .*not good/);
});

test('what is pinned makes way and stays', async () => {
  const { id } = (await status()).boot;
  const bad = await putFirst('20991231.4');
  await node.ingotJson(['node', 'pin', '0']);
  await giveUp(bad);
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'back', removed: false });
  expect((await status()).deployments.map(({ version }) => version)).toEqual(['20991231.2', '20991231.4']);
  expect(await environment()).toEqual({ good_id: id });
  await node.ingotJson(['node', 'unpin', '1']);
});

test('an environment that is damaged is written anew, and one that is none is left alone', async () => {
  const { id } = (await status()).boot;
  await node.exec(['dd', 'if=/dev/zero', 'of=/boot/grub/grubenv', 'bs=1024', 'count=1', 'conv=notrunc']);
  expect((await status()).boot).toMatchObject({ id, blessed: false });
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'good' });
  expect(await environment()).toEqual({ good_id: id });

  await node.exec(['truncate', '--size=100', '/boot/grub/grubenv']);
  const refused = await node.ingot(['node', 'bless']);
  expect(refused).toMatchObject({ exitCode: 1 });
  expect(refused.stderr).toMatch(/error\[NODE_FAILED\]: .*grubenv is no regular file of 1024 bytes/);
  expect((await stat(environmentFile())).size).toBe(100);
  // What cannot be read says nothing, and hides nothing else.
  expect((await status()).boot).toEqual({ id, blessed: false });
  await node.exec(['rm', '/boot/grub/grubenv']);
  expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'good' });
  expect((await stat(environmentFile())).size).toBe(1024);
});

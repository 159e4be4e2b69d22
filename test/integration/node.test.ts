/** `ingot node` on a node that is real but for its kernel and init. Needs root. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, moveName, type NextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';

let base: BuiltImage;
let scratch: string;
let layout: string;
let node: BootedNode;
let second: NextImage;
const followed = `oci:${GIVEN}/layout:stable`;

beforeAll(async () => {
  base = await builtImage();
  const { toolsRoot } = await testTools(base);
  scratch = await mkdtemp(join(TEST_FOLDER, 'node-'));
  layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  second = await addNextImage(layout, base.version, scratch, {
    name: '20991231.2',
    fill: (tree) =>
      writeTree(tree, {
        'etc/from-image': 'second\n',
        'etc/motd': 'second\n',
        'usr/share/second': 'yes',
        'usr/lib/bootc/kargs.d/90-second.toml': 'kargs = ["second=yes"]\n',
      }),
  });
  const folder = join(scratch, 'machine');
  await mkdir(folder);
  node = await BootedNode.install(`oci:${layout}:${base.version}`, folder, scratch, toolsRoot);
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function status(): Promise<Record<string, Record<string, unknown>>> {
  return (await node.ingotJson(['node', 'status'])) as Record<string, Record<string, unknown>>;
}

test('a node is updated, goes back, and forgets what it does not need', async () => {
  const first = await status();
  expect(first['booted']).toMatchObject({
    digest: base.digest,
    version: base.version,
    architecture: 'amd64',
  });
  expect(first['booted']?.['kernel']).toMatch(/^6\./);
  expect(Object.keys(first)).not.toContain('staged');

  const unknown = await node.ingot(['node', 'upgrade']);
  expect(unknown).toMatchObject({ exitCode: 1 });
  expect(unknown.stderr).toMatch(/error\[NOT_FOUND\]: nothing says where.*\n.*ingot node switch/);

  await writeFile(node.path('/etc/local'), 'mine\n');
  await writeFile(node.path('/etc/motd'), 'mine\n');
  await moveName(layout, 'stable', second.name);

  // Nothing but the layer that is new is pulled.
  const done = await node.ingotJson(['node', 'switch', followed]);
  expect(done).toMatchObject({
    done: 'staged',
    offered: { digest: second.digest, version: second.name },
    pulled: { layers: 1, bytes: second.layer.size },
    trust: { verdict: 'accepted' },
  });
  expect(await status()).toMatchObject({
    follows: followed,
    booted: { version: base.version },
    staged: { version: second.name, digest: second.digest },
  });
  expect((await node.ingotJson(['node', 'upgrade'])) as object).toMatchObject({
    state: 'staged',
    done: 'nothing',
  });

  await node.reboot();
  expect(await status()).toMatchObject({
    booted: { version: second.name, reference: followed },
    rollback: { version: base.version },
  });
  const read = (path: string): Promise<string> => readFile(node.path(path), 'utf8');
  expect(await read('/etc/local')).toBe('mine\n');
  expect(await read('/etc/motd')).toBe('mine\n');
  expect(await read('/etc/from-image')).toBe('second\n');
  expect(await read('/etc/fstab')).toMatch(/^UUID=\S+ \/boot ext4/);
  const entries = await node.exec(['sh', '-c', 'cat /boot/loader/entries/*-2.conf']);
  const options = /^options (.*)$/m.exec(entries.stdout)?.[1];
  expect(options).toMatch(
    /^root=UUID=\S+ rw console=tty0 console=ttyS0,115200 .*systemd.crash_reboot=1 second=yes ingot\.id=[0-9a-f]{12}-\d+ ostree=/,
  );
  expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);

  expect(await node.ingotJson(['node', 'upgrade'])).toMatchObject({ state: 'current', done: 'nothing' });

  expect((await node.ingotJson(['node', 'rollback'])) as object).toMatchObject({
    next: { version: base.version },
  });
  expect(await status()).toMatchObject({ pending: { version: base.version } });
  await node.reboot();
  expect(await status()).toMatchObject({
    booted: { version: base.version },
    rollback: { version: second.name },
  });
  // What was changed here since then is not in the older system's own /etc.
  await expect(read('/etc/from-image')).rejects.toThrow(/ENOENT/);

  const { updates } = (await node.ingotJson(['node', 'history'])) as { updates: { outcome: string }[] };
  expect(updates.map(({ outcome }) => outcome)).toEqual(['rollback', 'staged']);
});

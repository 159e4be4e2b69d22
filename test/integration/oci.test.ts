/** Images as skopeo and umoci see them. Needs root, skopeo, umoci, setcap. */
import { chmod, chown, link, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { packTree } from '../../src/build/archive/pack.ts';
import { assembleImage } from '../../src/build/image.ts';
import { type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { resolveImage, verifyLayout } from '../../src/oci/layout.ts';
import { writeLayout } from '../../src/oci/layout-write.ts';
import type { Descriptor } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { skopeoInspect, skopeoRecompress, umociReadsZstd, umociUnpack } from '../support/oci-tools.ts';
import { describeTree } from '../support/tree.ts';

const EPOCH = 1_700_000_000;
let scratch: string;
let store: Store;
let merged: string;
let manifest: Descriptor;
let layout: string;

const blobPath = (digest: Digest): string => store.blobPath(hexOf(digest));

beforeAll(async () => {
  // umoci 0.4.7 and skopeo take colons for separators, and nothing else.
  scratch = await mkdtemp(join(tmpdir(), 'ingot oci-ü-'));
  store = await Store.open(join(scratch, 'store'));
  layout = join(scratch, 'layout');
  merged = join(scratch, 'merged');
  manifest = await buildTwoLayers();
  await writeLayout(layout, { name: 'demo:1.0', manifest }, blobPath);
});

afterAll(async () => {
  await rm(scratch, { recursive: true });
});

/** A base, and a layer made by changing it through a real overlay mount; `merged` is what the mount showed. */
async function buildTwoLayers(): Promise<Descriptor> {
  const base = join(scratch, 'base');
  const upper = join(scratch, 'upper');
  for (const path of [base, upper, merged, join(scratch, 'work'), join(scratch, 'mount')]) await mkdir(path);
  await run(['cp', '-a', '/usr/share/doc', join(base, 'doc')]); // thousands of files, several frames
  await mkdir(join(base, 'usr/bin'), { recursive: true });
  await mkdir(join(base, 'etc/dropped'), { recursive: true });
  await writeFile(join(base, 'etc/dropped/a'), 'hidden by an opaque directory');
  await writeFile(join(base, 'etc/removed'), 'hidden by a whiteout');
  await writeFile(join(base, 'etc/becomes-directory'), 'a file at first');
  await writeFile(join(base, 'usr/bin/ping'), 'ELF');
  await chown(join(base, 'usr/bin/ping'), 0, 4_000_000);
  await run(['setcap', 'cap_net_raw+ep', join(base, 'usr/bin/ping')]);
  await writeFile(join(base, 'usr/bin/su'), 'ELF');
  await chmod(join(base, 'usr/bin/su'), 0o4755);
  await link(join(base, 'usr/bin/su'), join(base, 'usr/bin/su-too'));
  await symlink('/etc/removed', join(base, 'usr/bin/dangling'));
  await mkdir(join(base, 'tmp'));
  await chmod(join(base, 'tmp'), 0o1777);
  await writeFile(join(base, `etc/${'långt-'.repeat(20)}`), 'a long name');
  const script = [
    'set -eu; cd "$1"',
    'mount -t overlay o -o lowerdir=base,upperdir=upper,workdir=work,redirect_dir=off,metacopy=off mount',
    'cd mount; rm etc/removed etc/becomes-directory; mkdir etc/becomes-directory',
    'rm -r etc/dropped; mkdir etc/dropped; echo b >etc/dropped/b; chmod 0700 etc',
    'echo x >usr/bin/new; ln usr/bin/new usr/bin/new-too; setfattr -n user.note -v "$(printf "\\377")" usr/bin/new',
    'cp -a . ../merged',
  ].join('\n');
  await run(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', scratch]);
  const layers = [];
  for (const [name, tree] of [
    ['base', base],
    ['addon', upper],
  ] as const) {
    layers.push({
      step: { name, summary: `The ${name}` },
      layer: { chunks: [await packTree(store, tree, { epoch: EPOCH })] },
    });
  }
  const plan = {
    name: 'demo',
    version: '1.0',
    epoch: EPOCH,
    architecture: 'amd64',
    kernelRelease: '6.12',
    facts: {},
    lock: digestOf('lock'),
    compressionLevel: 3,
    steps: [],
    seal: {
      imageName: 'demo',
      version: '1.0',
      kernelRelease: '6.12',
      groups: [],
      users: [],
      units: [],
      kernelArguments: [],
      health: [],
    },
    key: digestOf('key'),
  };
  return assembleImage(store, { plan, layers });
}

/** umoci sets times of links and directories its own way; everything else must be equal. */
async function describeWithoutTimes(root: string): Promise<Map<string, unknown>> {
  const described = await describeTree(root);
  return new Map(
    [...described].map(([path, { mtime, ...file }]) => [
      path,
      file.type === '100000' ? { ...file, mtime: Math.min(mtime, EPOCH) } : file,
    ]),
  );
}

describe('an image of two layers', () => {
  test('verifies, down to the contents of every layer', async () => {
    expect((await verifyLayout(layout)).size).toBe(4);
    expect((await resolveImage(`oci:${layout}:demo:1.0`)).digest).toBe(manifest.digest);
  });

  test('skopeo inspects it', async () => {
    const inspected = await skopeoInspect(`oci:${layout}:demo:1.0`);
    expect(inspected).toMatchObject({
      Digest: manifest.digest,
      Created: '2023-11-14T22:13:20Z',
      Architecture: 'amd64',
      Os: 'linux',
      Labels: { 'containers.bootc': '1' },
    });
    expect(inspected.Layers).toHaveLength(2);
  });

  test('umoci unpacks what the overlay showed', async () => {
    let source = layout;
    if (!(await umociReadsZstd())) {
      source = join(scratch, 'gzip');
      await skopeoRecompress(`oci:${layout}:demo:1.0`, `oci:${source}:demo:1.0`, 'gzip');
    }
    const rootfs = await umociUnpack(source, 'demo:1.0', join(scratch, 'bundle'));
    expect(await describeWithoutTimes(rootfs)).toEqual(await describeWithoutTimes(merged));
    const { stdout } = await run(['getcap', join(rootfs, 'usr/bin/ping')]);
    expect(stdout).toMatch(/cap_net_raw=ep$/);
  });
});

test('a layout on another file system holds copies', async () => {
  const elsewhere = await mkdtemp('/dev/shm/ingot-oci-');
  try {
    const target = join(elsewhere, 'layout');
    await writeLayout(target, { name: 'demo', manifest }, blobPath);
    expect((await verifyLayout(target)).size).toBe(4);
    const copy = await lstat(join(target, 'blobs/sha256', hexOf(manifest.digest)));
    expect(copy.nlink).toBe(1);

    // Written again, what is sound stays as it is and what is damaged is mended.
    const path = join(target, 'blobs/sha256', hexOf(manifest.digest));
    await writeLayout(target, { name: 'demo', manifest }, blobPath);
    expect((await lstat(path)).ino).toBe(copy.ino);
    await writeFile(path, Buffer.alloc(manifest.size));
    await writeLayout(target, { name: 'demo', manifest }, blobPath);
    expect((await verifyLayout(target)).size).toBe(4);
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});

test('a layout whose blob was replaced by another file of its size is mended', async () => {
  const target = join(scratch, 'damaged');
  await writeLayout(target, { name: 'demo', manifest }, blobPath);
  const path = join(target, 'blobs/sha256', hexOf(manifest.digest));
  await rm(path);
  await writeFile(path, Buffer.alloc(manifest.size));
  await writeLayout(target, { name: 'demo', manifest }, blobPath);
  expect((await verifyLayout(target)).size).toBe(4);
});

test('a full disk is said to be one, and leaves no half layer', async () => {
  const tree = join(scratch, 'random');
  await mkdir(tree);
  await run(['dd', 'if=/dev/urandom', `of=${tree}/noise`, 'bs=1M', 'count=24', 'status=none']);
  const full = await mkdtemp('/dev/shm/ingot-full-');
  // The store is on a small tmpfs that only a private mount namespace sees: packing runs in a process there.
  const program = join(scratch, 'pack.ts');
  await writeFile(
    program,
    `import { packTree } from ${JSON.stringify(join(import.meta.dirname, '../../src/build/archive/pack.ts'))};
import { Store } from ${JSON.stringify(join(import.meta.dirname, '../../src/store/store.ts'))};
import { readdirSync } from 'node:fs';
const store = await Store.open(${JSON.stringify(full)});
try {
  await packTree(store, ${JSON.stringify(tree)}, { epoch: 0 });
} catch (error) {
  console.log(JSON.stringify({ code: error.code, left: [...readdirSync(store.path('tmp')), ...readdirSync(store.path('blobs/sha256'))] }));
}
`,
  );
  try {
    const script = 'mount -t tmpfs -o size=12m full "$1" && exec "$2" --no-warnings "$3"';
    const { stdout } = await run([
      ...(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'] as const),
      ...[full, process.execPath, program],
    ]);
    expect(JSON.parse(stdout)).toEqual({ code: 'DISK_FULL', left: [] });
  } finally {
    await rm(full, { recursive: true });
  }
});

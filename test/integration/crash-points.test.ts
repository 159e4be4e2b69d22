/**
 * An update on a disk that may lose its power at any write: the node is real but for its kernel and init, and so are
 * the file systems, whose writes are recorded. Whatever part of them is on the disk, an old or a new system starts. Needs
 * root. `npm run test:chaos` does the same with a machine, and at more points.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import { type BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { CrashImage } from '../support/crash/crash-image.ts';
import { chooseCrashPoints, seededRandom, superblocks } from '../support/crash/crash-points.ts';
import { goOn } from '../support/crash/go-on.ts';
import { changeInitramfs, recordUpdate, type Recording } from '../support/crash/record-update.ts';
import { renderReplay, replayCrashes } from '../support/crash/replay-crashes.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, moveName } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';

const POINTS = Number(process.env['INGOT_TEST_CRASH_POINTS'] ?? 40);
const SEED = Number(process.env['INGOT_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

let scratch: string;
let toolsRoot: ToolsRoot;
let recording: Recording;
let given: string;
/** Of the image that the disk begins with. */
let version: string;

beforeAll(async () => {
  const base = await builtImage();
  const tools = await testTools(base);
  ({ toolsRoot } = tools);
  scratch = await mkdtemp(join(TEST_FOLDER, 'crash-'));
  given = join(scratch, 'given');
  ({ version } = base);
  const layout = join(given, 'layout');
  await mkdir(given);
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  const options = { reference: `oci:${layout}:${base.version}`, store: tools.store, toolsRoot, given };
  const folder = join(scratch, 'recording');
  await mkdir(folder);
  recording = await recordUpdate({ ...options, folder }, async ({ node, begin, reboot }) => {
    const offer = async (name: string, file: string): Promise<void> => {
      const fill = async (tree: string): Promise<void> => {
        await writeTree(tree, { [`usr/share/${file}`]: 'yes', 'etc/from-image': `${file}\n` });
        await changeInitramfs(node, tree);
      };
      await moveName(
        layout,
        'stable',
        (await addNextImage(layout, base.version, scratch, { name, fill })).name,
      );
    };
    await offer('20991231.2', 'second');
    await begin('update');
    await node.ingotJson(['node', 'switch', `oci:${GIVEN}/layout:stable`]);
    await begin('finalise');
    await reboot('new');
    await begin('bless');
    expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'good' });

    await offer('20991231.3', 'third');
    await begin('bad update');
    await node.ingotJson(['node', 'upgrade']);
    await begin('finalise bad');
    await reboot('bad');
    await begin('trial');
    for (let tries = 3; (await status(node)).booted.version === '20991231.3'; tries--) {
      expect(tries).toBeGreaterThan(0);
      await reboot('bad');
    }
    await begin('settle');
    expect(await node.ingotJson(['node', 'bless'])).toMatchObject({ verdict: 'back', removed: true });
  });
});

async function status(node: BootedNode): Promise<{ readonly booted: { readonly version: string } }> {
  return (await node.ingotJson(['node', 'status'])) as never;
}

/** How many entries the log had. */
function at(phase: string): number {
  return recording.marks.find((mark) => mark.phase === phase)?.at ?? 0;
}

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

test('power may go at any write of an update', async () => {
  const folder = join(scratch, 'replay');
  const replay = await replayCrashes({
    recording,
    toolsRoot,
    folder,
    points: POINTS,
    seed: SEED,
    wholeReads: POINTS / 10,
  });
  console.log(renderReplay(replay, SEED));
  expect(replay.outcomes.filter(({ complaints }) => complaints.length > 0)).toEqual([]);
  // A bad system is only ever tried as often as it may be.
  for (const { starts } of replay.outcomes) {
    expect(starts.filter((name) => name === 'bad').length).toBeLessThan(4);
    expect(['old', 'new']).toContain(starts.at(-1));
  }
});

test('a node goes on from a disk that lost its power, and takes the next update', async () => {
  const offered = await addNextImage(join(given, 'layout'), version, scratch, {
    name: '20991231.4',
    fill: (tree) => writeTree(tree, { 'usr/share/fourth': 'yes' }),
  });
  const folder = join(scratch, 'go-on');
  await mkdir(folder);
  await using image = await CrashImage.open(recording.before, recording.log, folder);
  const random = seededRandom(SEED);
  for (const phase of ['update', 'finalise', 'settle']) {
    const index = recording.marks.findIndex((mark) => mark.phase === phase);
    const [from = 0, to = from] = recording.marks.slice(index, index + 2).map(({ at }) => at);
    const [point] = chooseCrashPoints(image.entries, { from, to, count: 1 }, random);
    if (point === undefined) throw new Error('one point');
    await image.rebuild(point);
    const reference = `oci:${GIVEN}/layout:${offered.name}`;
    const { partitions } = recording;
    const disk = join(folder, 'point.raw');
    const went = await goOn({ disk, partitions, folder, given, reference });
    expect([version, '20991231.2']).toContain(went.started);
    expect(went.updated).toBe(offered.name);
  }
});

test('a disk that forgets what it was told to keep is found out', async () => {
  const [from, to] = [at('update'), at('bless')];
  const written = Array.from({ length: to - from }, (_, index) => from + index);
  const lost = new Map(written.filter((index) => index % 2 === 0).map((index) => [index, 0]));
  const folder = join(scratch, 'liar');
  const points = [{ at: to, lost }];
  const { outcomes } = await replayCrashes({ recording, toolsRoot, folder, points, seed: 1, wholeReads: 1 });
  expect(outcomes.map(({ complaints }) => complaints.length > 0)).toEqual([true]);
});

test('a superblock that is half written is mended from its copy', async () => {
  const folder = join(scratch, 'torn');
  await mkdir(folder);
  const { partitions } = recording;
  const [, superblock] = superblocks(partitions);
  if (superblock === undefined) throw new Error('the root has a superblock');
  await using image = await CrashImage.open(recording.before, recording.log, folder);
  const from = at('update');
  const write = image.entries.findIndex(
    ({ offset, length }, index) =>
      index >= from && offset <= superblock.offset && offset + length > superblock.offset,
  );
  const { offset } = image.entries[write] ?? {};
  if (offset === undefined) throw new Error('nobody writes a superblock');
  const half = superblock.offset + superblock.size / 2 - offset;
  const points = [
    { at: write + 1, lost: new Map([[write, half]]) },
    { at: write + 1, lost: new Map<number, number>() },
  ];
  const judged = { recording, toolsRoot, folder: join(scratch, 'halves'), seed: 1, wholeReads: 0 };
  const { outcomes } = await replayCrashes({ ...judged, points });
  expect(outcomes.map(({ complaints, mended }) => ({ complaints, mended }))).toEqual([
    { complaints: [], mended: ['root'] },
    { complaints: [], mended: [] },
  ]);
});

/** Updates that a node makes by itself, on a node that is real but for its kernel and init. Needs root. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { updateUnits } from '../../src/plan/update-units.ts';
import type { UnattendedUpdates } from '../../src/spec/update-schema.ts';
import { GIVEN } from '../support/booted-node.ts';
import type { CliResult } from '../support/cli.ts';
import { addNextImage, moveName, type NextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

let machine: TestNode;
let second: NextImage;

beforeAll(async () => {
  machine = await startTestNode('unattended');
  const { base, layout, scratch } = machine;
  second = await addNextImage(layout, base.version, scratch, {
    name: '20991231.2',
    fill: (tree) => writeTree(tree, { 'usr/share/second': 'yes' }),
  });
  await moveName(layout, 'stable', base.version);
  await moveName(layout, 'beta', second.name);
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

const clock = (hoursFromNow: number): string =>
  `${String((new Date().getUTCHours() + 24 + hoursFromNow) % 24).padStart(2, '0')}:00`;
const OPEN = '00:00-24:00';
const CLOSED = `${clock(11)}-${clock(12)}`;

async function says(settings: Partial<UnattendedUpdates>): Promise<void> {
  const unattended = {
    ...{ window: [OPEN], randomDelaySeconds: 0, download: 'ahead', apply: 'restart' },
    ...settings,
  };
  const path = machine.node.path('/usr/lib/ingot/update.json');
  await mkdir(machine.node.path('/usr/lib/ingot'), { recursive: true });
  await writeFile(path, JSON.stringify({ source: `oci:${GIVEN}/layout:stable`, unattended }));
}
const unattended = (): Promise<CliResult> =>
  machine.node.ingot(['node', 'upgrade', '--unattended', '--json']);
async function outcome(): Promise<Record<string, unknown>> {
  const { exitCode, stdout, stderr } = await unattended();
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}
const status = (binds?: readonly string[]): Promise<Record<string, unknown>> =>
  machine.node.ingotJson(['node', 'status'], binds);

test('a node whose image says nothing of it does nothing', async () => {
  const { exitCode, stdout } = await unattended();
  expect(exitCode).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'NODE_UNSUITED' } });
  expect(await status()).not.toHaveProperty('unattended');
});

test('outside of its window it downloads, or does nothing, and follows the channel', async () => {
  await says({ window: [CLOSED], download: 'window', channel: 'beta' });
  expect(await outcome()).toMatchObject({ outcome: 'closed', window: { open: false } });
  await says({ window: [CLOSED] });
  expect(await outcome()).toMatchObject({ outcome: 'current' });
  await says({ window: [CLOSED], channel: 'beta' });
  expect(await outcome()).toMatchObject({ outcome: 'downloaded', offered: { digest: second.digest } });
  expect(await status()).toMatchObject({
    unattended: { open: false, timeZone: expect.any(String) as string, inhibitors: [], channel: 'beta' },
    updates: [{ outcome: 'downloaded', version: second.name }],
  });
});

test('what was downloaded is staged without its source, and only once', async () => {
  const layout = join(machine.scratch, 'layout');
  await rename(layout, `${layout}-away`);
  expect(await machine.node.ingotJson(['node', 'upgrade', '--from-downloaded'])).toMatchObject({
    ...{ done: 'staged', offered: { digest: second.digest }, reference: `oci:${GIVEN}/layout:beta` },
  });
  await rename(`${layout}-away`, layout);
  const again = await machine.node.ingot(['node', 'upgrade', '--from-downloaded']);
  expect(again.exitCode).toBe(1);
  expect(again.stderr).toMatch(/error\[NOT_FOUND\]: nothing that was downloaded waits/);
  expect((await machine.node.exec(['ostree', 'admin', 'undeploy', '0'])).exitCode).toBe(0);
});

test('in its window it waits for what is in the way, says so, and goes on when that is over', async () => {
  await says({ channel: 'beta' });
  const inhibit = machine.node.path('/etc/ingot/inhibit');
  await mkdir(machine.node.path('/etc/ingot'), { recursive: true });
  await writeFile(inhibit, 'the demo is on Friday\n');
  const running = outcome();
  for (let tries = 0; ; tries += 1) {
    const journal = await readFile(machine.node.path('/var/lib/ingot/journal.jsonl'), 'utf8');
    if (journal.includes('"waiting"')) break;
    if (tries > 900) throw new Error('it does not wait');
    await sleep(200);
  }
  const waiting = await machine.node.ingot(['node', 'status']);
  expect(waiting.stdout).toMatch(
    /the update is started by itself .* waits for \/etc\/ingot\/inhibit: the demo is on Friday/,
  );
  expect(waiting.stdout).toMatch(/waits +\/etc\/ingot\/inhibit: the demo/);
  // It waits, and holds nobody else up.
  expect((await machine.node.ingot(['node', 'gc'])).exitCode).toBe(0);
  await rm(inhibit);
  expect(await running).toMatchObject({ outcome: 'restarting', offered: { version: second.name } });
  expect(await status()).toMatchObject({
    staged: { version: second.name, reference: `oci:${GIVEN}/layout:beta` },
  });
});

test('a job on a GPU is seen through what it has open', async () => {
  const device = join(machine.scratch, 'device');
  await writeFile(device, '');
  const { stdout } = await machine.node.exec(
    ['sh', '-c', `exec 3</dev/nvidia0; ${machine.node.ingotArgv(['node', 'status', '--json']).join(' ')}`],
    ['--unshare-cgroup', '--bind', device, '/dev/nvidia0'],
  );
  const { unattended: told } = JSON.parse(stdout) as { unattended: { inhibitors: object[] } };
  expect(told.inhibitors).toContainEqual({
    kind: 'gpu',
    who: expect.stringMatching(/^\w+ \(\d+\)$/) as string,
    why: 'it uses /dev/nvidia0',
  });
});

describe('the units', () => {
  test('are what systemd takes', async () => {
    const files = updateUnits({
      ...{ window: ['Sat,Sun 02:00-04:00', 'Mon..Fri 22:30-01:00', OPEN], randomDelaySeconds: 3600 },
      ...{ download: 'ahead', apply: 'restart' },
    });
    const folder = machine.node.path('/run/units/x').slice(0, -2);
    await mkdir(folder, { recursive: true });
    for (const { name, content = '' } of files) {
      await writeFile(join(folder, name), content.replace('/usr/bin/ingot', '/usr/bin/true'));
    }
    const names = files.map(({ name }) => `/run/units/${name}`);
    expect(await machine.node.exec(['systemd-analyze', 'verify', '--man=no', ...names])).toEqual({
      ...{ exitCode: 0, stdout: '', stderr: '' },
    });
    const calendars = files[1]?.content?.match(/^OnCalendar=.*$/gm)?.map((line) => line.slice(11)) ?? [];
    expect(calendars).toHaveLength(4);
    for (const calendar of calendars) {
      const { exitCode } = await machine.node.exec(['systemd-analyze', 'calendar', calendar]);
      expect(exitCode, calendar).toBe(0);
    }
  });
});

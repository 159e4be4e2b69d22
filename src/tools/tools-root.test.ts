import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { openToolsRoot } from './tools-root.ts';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-tools-'));
  for (const folder of ['usr/bin', 'usr/lib', 'usr/local', 'usr/src', 'etc']) {
    await mkdir(join(root, folder), { recursive: true });
  }
});

afterAll(async () => {
  await rm(root, { recursive: true });
});

test('a program sees the tools, read-only, and the paths it is given', async () => {
  const tools = await openToolsRoot(root);
  const argv = tools.argv(
    ['ostree', '--version'],
    [{ path: '/data' }, { path: '/x', target: '/y', readOnly: true }],
    {
      capabilities: ['CHOWN'],
    },
  );
  const text = argv.join(' ');
  expect(argv[0]).toBe('bwrap');
  expect(text).toContain(`--ro-bind ${root}/usr/bin /usr/bin`);
  expect(text).not.toContain('/usr/local');
  expect(text).toContain('--bind /data /data --ro-bind /x /y');
  expect(text).toContain('--cap-drop ALL --cap-add CAP_CHOWN');
  expect(text).toContain('--unshare-net');
  expect(text).toMatch(/ -- ostree --version$/);
});

test('without being asked, a program has no capability', async () => {
  const argv = (await openToolsRoot(root)).argv(['true'], []);
  expect(argv).not.toContain('--cap-add');
});

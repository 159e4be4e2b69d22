import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { RootFs } from '../root-fs.ts';
import { namesInDracut } from './dracut-names.ts';

const SETUP = `#!/bin/bash
# for people: commented

check() {
    require_binaries \${name}-probe mdadm || return 1
    return 255
}

install() {
    inst_multiple -o kexec "libnss_*"
}
`;
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot dracut-'));
  const files = {
    'usr/bin/dracut': 'find_binary 3cpio\n',
    'usr/lib/dracut/modules.d/90first/module-setup.sh': SETUP,
    'usr/lib/dracut/modules.d/95second/module-setup.sh': SETUP.replaceAll('mdadm', 'xfs_repair').replace('kexec', 'ssh'),
    'usr/lib/dracut/modules.d/99third/other.sh': 'never\n',
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

test('names all of a module that is in it, and of others what decides that', async () => {
  const names = await namesInDracut(new RootFs(root), new Set(['first']));
  for (const name of ['3cpio', 'kexec', 'libnss_*', 'mdadm', '-probe', 'xfs_repair']) expect(names).toContain(name);
  for (const name of ['ssh', 'commented', 'never']) expect(names).not.toContain(name);
  expect(names).toEqual([...names].sort());
});

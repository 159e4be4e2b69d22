/** Menus in the hands of GRUB's own parser. That GRUB does with them what is meant, machines show: test/vm/. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { testTools } from '../support/derived-image.ts';

const SCRIPT = join(import.meta.dirname, '../../layers/base/debian/grub-mkconfig');
let toolsRoot: ToolsRoot;
let scratch: string;

beforeAll(async () => {
  ({ toolsRoot } = await testTools(await builtImage()));
  scratch = await mkdtemp(join(TEST_FOLDER, 'grub-menu-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

test.each([1, 2, 3, 5])('a menu of %i entries is a script that GRUB takes', async (count) => {
  const loader = join(scratch, `loader.${count}`);
  await mkdir(join(loader, 'entries'), { recursive: true });
  for (let version = 1; version <= count; version++) {
    const id = version === 2 ? '' : ` ingot.id=0123456789ab-${version}`;
    const lines = [
      `title It's "number" ${version} $x`,
      `version ${version}`,
      `options rw a="b c" d='e'${id}`,
      'linux /k',
      'initrd /i',
    ];
    await writeFile(join(loader, 'entries', `${version}.conf`), `${lines.join('\n')}\n`);
  }
  const menu = join(loader, 'grub.cfg');
  await run(['sh', SCRIPT, '-o', menu]);
  const check = (path: string): ReturnType<typeof run> =>
    run(toolsRoot.argv(['grub-script-check', path], [{ path: scratch, readOnly: true }]), {
      okExitCodes: [0, 1],
    });
  expect(await check(menu)).toMatchObject({ exitCode: 0 });
  const broken = join(loader, 'broken.cfg');
  await writeFile(broken, 'if [ a = b ]; then\n');
  expect((await check(broken)).exitCode).toBe(1);
});

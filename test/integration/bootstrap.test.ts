/** `scripts/bootstrap.sh` where it cannot help itself. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';

/** The packages of these groups, as scripts/debian-packages.txt has them. */
function packagesOf(...groups: string[]): string[] {
  return readFileSync(join(PRODUCT_ROOT, 'scripts/debian-packages.txt'), 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/))
    .flatMap(([group = '', name = '']) => (groups.includes(group) ? [name] : []));
}

test.each([
  ['quickstart', ['product']],
  ['test', ['product', 'test']],
])('elsewhere than on Debian `%s` says what it needs, and installs nothing', async (mode, groups) => {
  const folder = await mkdtemp(join(tmpdir(), 'ingot-elsewhere-'));
  try {
    const release = join(folder, 'os-release');
    await writeFile(release, 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\n');
    // In a mount namespace of its own, /etc/os-release is another file.
    const elsewhere = 'mount --bind "$0" /etc/os-release && exec sh scripts/bootstrap.sh "$1"';
    const { exitCode, stdout, stderr } = await run(
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', elsewhere, release, mode],
      { cwd: PRODUCT_ROOT, okExitCodes: [0, 1] },
    );
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    const lines = stderr.split('\n');
    expect(lines[0]).toBe('This is not Debian or Ubuntu. Ingot needs what these Debian packages hold:');
    expect(lines.filter((line) => line.startsWith('  ')).map((line) => line.trim())).toEqual(
      packagesOf(...groups),
    );
    expect(lines.at(-1)).toContain('Use a Debian 12 (or later) machine');
  } finally {
    await rm(folder, { recursive: true });
  }
});

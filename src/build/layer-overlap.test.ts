import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { IngotError } from '../errors.ts';
import { assertNoOverlap, type OverlapLayer } from './layer-overlap.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-overlap-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function layer(name: string, files: readonly string[], needs: readonly string[] = []): Promise<OverlapLayer> {
  const root = join(folder, name);
  await mkdir(root);
  for (const file of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), '');
  }
  return { name, root, needs: ['base', ...needs] };
}

function conflictOf(layers: readonly OverlapLayer[], skip: (path: string) => boolean = () => false): string {
  try {
    assertNoOverlap(layers, skip);
  } catch (error) {
    if (error instanceof IngotError && error.code === 'LAYER_CONFLICT') return error.message;
    throw error;
  }
  return '';
}

describe('assertNoOverlap', () => {
  it('is content with layers that share directories alone', async () => {
    expect(conflictOf([await layer('a', ['usr/lib/x']), await layer('b', ['usr/lib/y'])])).toBe('');
  });

  it('names both layers and every path that both bring', async () => {
    const message = conflictOf([await layer('a', ['etc/one', 'etc/two']), await layer('b', ['etc/one', 'etc/two'])]);
    expect(message).toContain('layers a and b both bring /etc/one');
    expect(message).toContain('layers a and b both bring /etc/two');
  });

  it('finds a file where the other layer has a directory', async () => {
    expect(conflictOf([await layer('a', ['etc/x/file']), await layer('b', ['etc/x'])])).toContain(
      'layers a and b both bring /etc/x',
    );
  });

  it('finds directories of different modes', async () => {
    const [a, b] = [await layer('a', ['etc/x/one']), await layer('b', ['etc/x/two'])];
    await chmod(join(b.root, 'etc/x'), 0o700);
    expect(conflictOf([a, b])).toMatch(/the directory \/etc\/x is 0755 \d+:\d+ in a, 0700 \d+:\d+ in b/);
  });

  it('finds a package that two layers bring by its files in the package database', async () => {
    const list = 'usr/lib/sysimage/dpkg/info/x.list';
    expect(conflictOf([await layer('a', [list]), await layer('b', [list])])).toContain(
      `layers a and b both bring /${list}`,
    );
  });

  it.runIf(process.getuid?.() === 0)('finds directories of different owners', async () => {
    const [a, b] = [await layer('a', ['etc/x/one']), await layer('b', ['etc/x/two'])];
    await chown(join(b.root, 'etc/x'), 7, 8);
    expect(conflictOf([a, b])).toContain('the directory /etc/x is 0755 0:0 in a, 0755 7:8 in b');
  });

  it('lets a layer change what it was unpacked on', async () => {
    expect(conflictOf([await layer('a', ['etc/x']), await layer('b', ['etc/x'], ['a'])])).toBe('');
  });

  it('leaves out what is merged in another way', async () => {
    const layers = [await layer('a', ['var/log/x']), await layer('b', ['var/log/x'])];
    expect(conflictOf(layers, (path) => path.startsWith('var/'))).toBe('');
  });
});

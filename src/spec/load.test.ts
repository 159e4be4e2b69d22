import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { loadSpec } from './load.ts';

let cwd = '';

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'ingot spec ü '));
  await mkdir(join(cwd, 'images'));
  await writeFile(join(cwd, 'common.yaml'), 'base: debian@13\n');
  await writeFile(join(cwd, 'images/nöde one.yaml'), 'name: node\nextends: ../common.yaml\n');
  await writeFile(join(cwd, 'latin1.yaml'), Buffer.from('name: node\nsummary: caf\xE9\n', 'latin1'));
  await writeFile(join(cwd, 'utf16.yaml'), Buffer.from('\uFEFFname: node\n', 'utf16le'));
  await writeFile(join(cwd, 'big.yaml'), Buffer.alloc(2 * 1024 * 1024, '#'));
});

afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
});

describe('loadSpec', () => {
  it('reads paths with spaces and letters of any language, and what they extend', async () => {
    const { image, file, sources } = await loadSpec('images/nöde one.yaml', { cwd });
    expect(image.base).toEqual({ name: 'debian', release: '13' });
    expect(file).toBe('images/nöde one.yaml');
    expect(sources.at(['base'])).toEqual({ file: 'common.yaml', line: 1, column: 7 });
  });

  it.each([
    ['nope.yaml', 'IMAGE_UNKNOWN', 'cannot read nope.yaml: there is no such file'],
    ['images', 'IMAGE_UNKNOWN', 'cannot read images: it is a folder'],
    ['common.yaml/x', 'IMAGE_UNKNOWN', 'cannot read common.yaml/x: there is no such file'],
    ['/dev/zero', 'IMAGE_UNKNOWN', 'cannot read /dev/zero: it is not a regular file'],
    ['big.yaml', 'SPEC_INVALID', 'big.yaml is larger than 1 MiB'],
    ['latin1.yaml', 'SPEC_INVALID', 'latin1.yaml is not UTF-8 text'],
    ['utf16.yaml', 'SPEC_INVALID', 'utf16.yaml is not UTF-8 text'],
  ])('refuses %s', async (path, code, message) => {
    await expect(loadSpec(path, { cwd })).rejects.toMatchObject({ code, message });
  });

  it('points at the first byte that is not UTF-8', async () => {
    await expect(loadSpec('latin1.yaml', { cwd })).rejects.toMatchObject({
      location: { file: 'latin1.yaml', line: 2, column: 13 },
    });
  });
});

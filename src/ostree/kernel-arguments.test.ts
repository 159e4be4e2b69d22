import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { TreeRepository } from '../../test/support/tree-repository.ts';
import { KERNEL_ARGUMENTS_FOLDER, loadKernelArguments, parseKernelArguments } from './kernel-arguments.ts';

let scratch: string;
let tree: string;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-kargs-'));
  tree = join(scratch, 'tree');
  await mkdir(tree);
});

afterEach(async () => {
  await rm(scratch, { recursive: true });
});

async function argumentsOf(folder: string): Promise<string[]> {
  return loadKernelArguments(new TreeRepository(join(scratch, 'repo')).view(folder));
}

test('arguments come in file order, for this architecture', async () => {
  const folder = join(tree, KERNEL_ARGUMENTS_FOLDER);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, '20-b.toml'), 'kargs = ["console=ttyS0,115200", "quiet"]\n');
  await writeFile(join(folder, '10-a.toml'), 'kargs = ["console=tty0"]\nmatch-architectures = ["x86_64"]\n');
  await writeFile(join(folder, '15-c.toml'), 'kargs = ["arm"]\nmatch-architectures = ["aarch64"]\n');
  await writeFile(join(folder, 'README'), 'not read');
  expect(await argumentsOf(tree)).toEqual(['console=tty0', 'console=ttyS0,115200', 'quiet']);
});

test('an image without the folder asks for nothing', async () => {
  expect(await argumentsOf(tree)).toEqual([]);
});

test('links are followed inside the image, never on this machine', async () => {
  const folder = join(tree, KERNEL_ARGUMENTS_FOLDER);
  await mkdir(folder, { recursive: true });
  const outside = `${tree}.toml`;
  await writeFile(outside, 'kargs = ["of-this-machine"]\n');
  await symlink(outside, join(folder, '10-out.toml'));
  await expect(argumentsOf(tree)).rejects.toMatchObject({ code: 'DISK_FAILED' });
  await mkdir(join(tree, dirname(outside)), { recursive: true });
  await writeFile(join(tree, outside), 'kargs = ["of-the-image"]\n');
  expect(await argumentsOf(tree)).toEqual(['of-the-image']);
  await rm(outside);
});

test.each([
  ['not TOML', 'kargs = ['],
  ['another key', 'kargs = []\nkarg = []'],
  ['no list', 'kargs = "quiet"'],
  ['a blank in an argument', 'kargs = ["quiet splash"]'],
  ['a line break in an argument', 'kargs = ["""quiet\nsplash"""]'],
])('%s is refused with the file in the message', (_what, text) => {
  const parse = (): unknown => parseKernelArguments(text, 'usr/lib/x.toml', 'x86_64');
  expect(parse).toThrow(/^\/usr\/lib\/x\.toml in the image/);
  expect(parse).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
});

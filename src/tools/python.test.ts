import { glob, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { run } from '../proc/run.ts';
import {
  parseDebianDefaults,
  privateModuleFolders,
  pythonCompileArgv,
  pythonCompileInput,
} from './python.ts';

describe('parseDebianDefaults', () => {
  it('has the default first, each once', () => {
    const text =
      '[DEFAULT]\n# comment\ndefault-version = python3.13\nsupported-versions = python3.12, python3.13\n';
    expect(parseDebianDefaults(text)).toEqual(['python3.13', 'python3.12']);
    expect(parseDebianDefaults('')).toEqual([]);
  });
});

describe('privateModuleFolders', () => {
  it.each([
    ['py3compile -p foo', []],
    ['\tpy3compile -p foo:amd64 ', []],
    ['\tpy3compile -p foo /usr/share/foo/', ['/usr/share/foo']],
    [
      "py3compile -p foo /usr/share/foo -V 3.13- -X '/usr/lib/.*' /usr/lib/foo",
      ['/usr/share/foo', '/usr/lib/foo'],
    ],
    ['py3compile -p foo /usr/share/foo || true', ['/usr/share/foo']],
    ['pypy3compile -p foo /usr/share/foo || true', []],
    ['# py3compile -p foo /usr/share/foo', []],
  ])('of %j', (line, folders) => {
    expect(privateModuleFolders(`#!/bin/sh\nset -e\n${line}\nexit 0\n`)).toEqual(folders);
  });
});

// Any Python will do; the machine's own is where Debian has it.
describe('a compile', () => {
  const python = '/usr/bin/python3';
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ingot-pyc ü-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  async function compile(
    name: string,
    groups: readonly (readonly string[])[],
  ): Promise<(name: string) => Promise<Buffer>> {
    const at = join(folder, name);
    await mkdir(at);
    // Constants and names that several modules share are what makes one depend on another.
    const text = (module: string): string =>
      `import os\n${module} = ('shared', os.path.join, "${module}", 'shared')\n`;
    for (const module of groups.flat()) {
      await writeFile(join(at, `${module}.py`), module === 'broken' ? 'def (' : text(module));
    }
    const paths = groups.map((modules) => modules.map((module) => `${module}.py`));
    await run(pythonCompileArgv(python), { cwd: at, stdin: pythonCompileInput(paths) });
    const tag = (await run([python, '-c', 'import sys; print(sys.implementation.cache_tag)'])).stdout.trim();
    return async (module) => readFile(join(at, `__pycache__/${module}.${tag}.pyc`));
  }

  it('says that nobody need look, leaves out what is no Python, and depends on its group alone', async () => {
    const alone = await compile('alone', [['a', 'b']]);
    const among = await compile('among', [['x', 'broken'], ['a', 'b', 'missing'], ['y']]);
    expect((await alone('a')).readUInt32LE(4)).toBe(1);
    expect((await among('b')).equals(await alone('b'))).toBe(true);
    expect((await among('a')).equals(await alone('a'))).toBe(true);
    await expect(among('broken')).rejects.toThrow('ENOENT');
    await among('x');
    await among('y');
  });

  it('leaves out what a link has for a setting', async () => {
    const at = join(folder, 'settings');
    await mkdir(at);
    const [setting = expect.unreachable('Debian’s Python has one')] = await Array.fromAsync(
      glob('/etc/python3.*/sitecustomize.py'),
    );
    await symlink(setting, join(at, 'sitecustomize.py'));
    await writeFile(join(at, 'module.py'), '');
    await symlink('module.py', join(at, 'linked.py'));
    const stdin = pythonCompileInput([['sitecustomize.py', 'linked.py']]);
    await run(pythonCompileArgv(python), { cwd: at, stdin });
    expect(await readdir(join(at, '__pycache__'))).toEqual([expect.stringMatching(/^linked\./)]);
  });

  it('that cannot write fails', async () => {
    await mkdir(join(folder, 'full'));
    await writeFile(join(folder, 'full/a.py'), '');
    await writeFile(join(folder, 'full/__pycache__'), 'in the way');
    await expect(
      run(pythonCompileArgv(python), { cwd: join(folder, 'full'), stdin: pythonCompileInput([['a.py']]) }),
    ).rejects.toMatchObject({ code: 'TOOL_FAILED' });
  });
});

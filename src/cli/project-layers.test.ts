import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { runInProcess, type InProcessResult } from '../../test/support/in-process.ts';
import { FindingsError } from '../errors.ts';

let root: string;
let env: Record<string, string>;

beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'ingot project ')));
  env = {};
  await write('project/.git/HEAD', '');
  await write('project/images/node.yaml', 'name: node\nbase: debian@13\naddons: [tool]\n');
  await addon('project', 'tool');
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

function addon(place: string, name: string, more = 'summary: A tool\n'): Promise<void> {
  return write(`${place}/layers/addon/${name}.yaml`, `name: ${name}\nkind: addon\n${more}`);
}

let stderr = '';

async function ingot(...args: readonly string[]): Promise<InProcessResult> {
  stderr = '';
  return runInProcess(root, args, { env, onStderr: (text) => (stderr += text) });
}

/** Code, place and message of everything that is wrong with the catalogue. */
async function mistakes(...args: readonly string[]): Promise<string[]> {
  const error: unknown = await ingot(...args).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof FindingsError)) throw new Error('nothing was refused', { cause: error });
  return error.findings.map(({ code, location, message, suggestions = [] }) => {
    const { file = '', line = 0, column = 0 } = location ?? {};
    return [code, `${file.slice(root.length + 1)}:${line}:${column}`, message, ...suggestions].join(' ');
  });
}

describe('the layers of a project', () => {
  it('are found from the declaration, and from the working directory', async () => {
    expect(await ingot('validate', 'project/images/node.yaml')).toMatchObject({ exitCode: 0 });
    const { exitCode, stdout } = await runInProcess(join(root, 'project/images'), [
      'catalog',
      'show',
      'tool',
    ]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('A tool');
  });

  it('are not looked for outside of its repository', async () => {
    await rm(join(root, 'project/layers'), { recursive: true });
    await addon('.', 'tool');
    const { exitCode, stdout } = await ingot('validate', 'project/images/node.yaml');
    expect(exitCode).toBe(2);
    expect(stdout).toContain('unknown addon "tool"');
  });

  it('are no other things that are called layers', async () => {
    await write('project/images/layers/meta-foo/conf', '');
    expect(await ingot('validate', 'project/images/node.yaml')).toMatchObject({ exitCode: 0 });
  });

  it('take the place of the product’s, which is said', async () => {
    await addon('project', 'chrony');
    expect(await ingot('validate', 'project/images/node.yaml')).toMatchObject({ exitCode: 0 });
    expect(stderr).toMatch(
      /project\/layers\/addon\/chrony\.yaml takes the place of .*\/layers\/addon\/chrony\.yaml/,
    );
  });

  it('must not claim a name that INGOT_LAYERS claims too', async () => {
    await addon('more', 'tool');
    env = { INGOT_LAYERS: 'more/layers' };
    expect(await mistakes('validate', 'project/images/node.yaml')).toEqual([
      `CATALOG_INVALID more/layers/addon/tool.yaml:1:7 the layer addon/tool is already defined in ${root}/project/layers/addon/tool.yaml:1`,
    ]);
  });

  it('may be named in INGOT_LAYERS too, also through a link', async () => {
    await symlink(join(root, 'project/layers'), join(root, 'linked'));
    env = { INGOT_LAYERS: 'linked:project/layers' };
    expect(await ingot('validate', 'project/images/node.yaml')).toMatchObject({ exitCode: 0 });
  });

  it('show their mistakes in their own file', async () => {
    await addon('project', 'broken', 'sumary: x\n');
    const file = 'project/layers/addon/broken.yaml';
    const found = await mistakes('validate', 'project/images/node.yaml');
    expect(
      found.some((text) => text.startsWith(`CATALOG_INVALID ${file}:3:1 `) && text.endsWith(' summary')),
    ).toBe(true);
    expect(found.every((text) => text.startsWith(`CATALOG_INVALID ${file}:`))).toBe(true);
  });

  it('must not need each other in a circle', async () => {
    await addon('project', 'a', 'summary: x\nneeds: [b]\n');
    await addon('project', 'b', 'summary: x\nneeds: [base, a]\n');
    await addon('project', 'self', 'summary: x\nneeds: [self]\n');
    expect(await mistakes('validate', 'project/images/node.yaml')).toEqual([
      'CATALOG_INVALID project/layers/addon/b.yaml:4:15 layers need each other: addon/a → addon/b → addon/a',
      'CATALOG_INVALID project/layers/addon/self.yaml:4:9 layers need each other: addon/self → addon/self',
    ]);
  });

  it('must not need what needs them through a driver', async () => {
    await addon('project', 'tool', 'summary: x\nneeds: [maker]\n');
    await write(
      'project/layers/driver/maker.yaml',
      'name: maker\nkind: driver\nsummary: x\nprovides: [made]\nneeds: [tool]\n',
    );
    expect(await mistakes('validate', 'project/images/node.yaml')).toEqual([
      'CATALOG_INVALID project/layers/driver/maker.yaml:5:9 layers need each other: addon/tool → driver/maker → addon/tool',
    ]);
  });

  it('must not say that they are another', async () => {
    await write('project/layers/addon/chronny.yaml', 'name: chrony\nkind: addon\nsummary: x\n');
    expect(await mistakes('validate', 'project/images/node.yaml')).toEqual([
      'CATALOG_INVALID project/layers/addon/chronny.yaml:1:7 this file is addon/chronny, but it says it is addon/chrony',
    ]);
    expect(stderr).not.toContain('takes the place');
  });

  it('that are needed and not there are told with the nearest', async () => {
    await addon('project', 'other', 'summary: x\nneeds: [tolo]\n');
    expect(await mistakes('validate', 'project/images/node.yaml')).toEqual([
      'CATALOG_INVALID project/layers/addon/other.yaml:4:9 there is no layer "tolo" tool',
    ]);
  });

  it('of two projects are not mixed', async () => {
    await write('other/images/node.yaml', 'name: node\nbase: debian@13\n');
    await addon('other', 'tool');
    await expect(ingot('validate', 'project/images/node.yaml', 'other/images/node.yaml')).rejects.toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringContaining('two projects') as unknown }),
    );
  });
});

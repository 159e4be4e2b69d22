import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { modulesFrom } from '../../test/support/modules-from.ts';
import { loadFacts } from './facts/load.ts';
import { FACTS_CODE, recallFacts } from './facts/recall.ts';
import { keptOfText, keptValue } from './kept-value.ts';
import { LAYERS_CODE } from './load.ts';

let root: string;
let made: number;

beforeEach(async () => {
  made = 0;
  root = await mkdtemp(join(tmpdir(), 'kept-value-'));
  for (const folder of ['text/below', 'kept']) await mkdir(join(root, folder), { recursive: true });
  await writeFile(join(root, 'text/below/a.yaml'), 'one');
  await writeFile(join(root, 'code.ts'), 'parse()');
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

/** The text, and something that JSON could not keep. */
async function value(isKept = true): Promise<unknown> {
  return keptValue({
    name: 'value',
    folder: join(root, 'text'),
    code: [join(root, 'code.ts')],
    keptIn: join(root, 'kept'),
    isKept: () => isKept,
    make: async () => {
      made += 1;
      return new Map([['text', await readFile(join(root, 'text/below/a.yaml'), 'utf8')]]);
    },
  });
}

const ONE = new Map([['text', 'one']]);

describe('what was made is made again', () => {
  test('not while text and code are the same', async () => {
    expect([await value(), await value()]).toEqual([ONE, ONE]);
    expect(made).toBe(1);
  });

  test('after a change of a text', async () => {
    await value();
    await writeFile(join(root, 'text/below/a.yaml'), 'two');
    expect(await value()).toEqual(new Map([['text', 'two']]));
    // The last one alone is kept.
    expect(await readdir(join(root, 'kept'))).toHaveLength(1);
  });

  test.each([
    ['a file more', 'text/b.yaml'],
    ['other code', 'code.ts'],
  ])('after %s', async (_what, file) => {
    await value();
    await writeFile(join(root, file), 'other');
    await value();
    expect(made).toBe(2);
  });

  test('when it was not to be kept', async () => {
    await value(false);
    await value();
    expect(made).toBe(2);
  });

  test('when what is kept was cut short or altered', async () => {
    await value();
    const [name = ''] = await readdir(join(root, 'kept'));
    const file = join(root, 'kept', name);
    const bytes = await readFile(file);
    const altered = Buffer.from(bytes);
    altered[altered.length - 2] = (altered.at(-2) ?? 0) ^ 1;
    for (const broken of [bytes.subarray(0, -1), bytes.subarray(0, 40), Buffer.alloc(0), altered]) {
      await writeFile(file, broken);
      expect(await value()).toEqual(ONE);
    }
    expect(made).toBe(5);
  });

  test('where a link makes it unclear what was read', async () => {
    await symlink('/etc/hostname', join(root, 'text/link'));
    await value();
    await value();
    expect(made).toBe(2);
  });

  test('where nothing can be kept', async () => {
    await rm(join(root, 'kept'), { recursive: true });
    expect([await value(), await value()]).toEqual([ONE, ONE]);
    expect(made).toBe(2);
  });
});

test('many at once make one whole value', async () => {
  const values = await Promise.all(Array.from({ length: 20 }, () => value()));
  expect(new Set(values.map((one) => JSON.stringify([...(one as Map<string, string>)])))).toHaveLength(1);
  expect(await readdir(join(root, 'kept'))).toHaveLength(1);
  made = 0;
  await value();
  expect(made).toBe(0);
});

describe('what was made of a text', () => {
  const make = (text: string, broken = false): unknown =>
    keptOfText({
      name: 'lock',
      text,
      code: [join(root, 'code.ts')],
      keptIn: join(root, 'kept'),
      make: () => {
        made += 1;
        if (broken) throw new Error('broken');
        return new Map([['text', text]]);
      },
    });

  test('is made again of another text or with other code, and the last one is kept', async () => {
    expect([make('one'), make('one')]).toEqual([ONE, ONE]);
    expect(made).toBe(1);
    expect(make('two')).toEqual(new Map([['text', 'two']]));
    await writeFile(join(root, 'code.ts'), 'other');
    make('two');
    expect(made).toBe(3);
    expect(await readdir(join(root, 'kept'))).toEqual(['lock']);
  });

  test('is not kept when it did not come to be', async () => {
    expect(() => make('one', true)).toThrow('broken');
    expect(await readdir(join(root, 'kept'))).toEqual([]);
    expect(make('one')).toEqual(ONE);
  });
});

test('recalled facts are the facts', async () => {
  const folder = resolve(import.meta.dirname, '../../drivers');
  const facts = await loadFacts(folder);
  const first = await recallFacts(folder, join(root, 'kept'));
  const again = await recallFacts(folder, join(root, 'kept'));
  expect(await readdir(join(root, 'kept'))).toHaveLength(1);
  expect(first).toEqual(facts);
  expect(again).toEqual(facts);
  // The solver compares what is one thing by identity.
  for (const gpu of again.nvidia.gpus)
    expect(again.nvidia.architectures.get(gpu.architecture.name)).toBe(gpu.architecture);
});

describe('the code that a kept value depends on is all named', () => {
  test.each([
    ['facts', 'facts/load.ts', FACTS_CODE],
    ['layers', 'load.ts', LAYERS_CODE],
  ])('for %s', async (_what, entry, code) => {
    const modules = await modulesFrom(join(import.meta.dirname, entry));
    expect(modules.size).toBeGreaterThan(8);
    // It decides whether something is read, not what.
    modules.delete(join(import.meta.dirname, 'kept-value.ts'));
    const missing = [...modules].filter(
      (file) => !code.some((place) => file === place || file.startsWith(`${place}/`)),
    );
    expect(missing).toEqual([]);
  });
});

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import { FindingsError, type Finding } from '../../errors.ts';
import { allGpus } from './find-gpus.ts';
import { loadFacts } from './load.ts';
import type { Facts, Row } from './types.ts';

const DRIVERS = resolve(import.meta.dirname, '../../../drivers');

let facts: Facts;
let scratch: string;
beforeAll(async () => {
  facts = await loadFacts(DRIVERS);
  scratch = await mkdtemp(join(tmpdir(), 'ingot-facts-'));
});
afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

/** The facts with one file changed. */
async function edited(file: string, edit: (text: string) => string): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'drivers-'));
  await cp(DRIVERS, folder, { recursive: true });
  const text = await readFile(join(folder, file), 'utf8');
  const changed = edit(text);
  if (changed === text) throw new Error(`nothing to edit in ${file}`);
  await writeFile(join(folder, file), changed);
  return folder;
}

async function findingsOf(folder: string): Promise<readonly Finding[]> {
  try {
    await loadFacts(folder);
  } catch (error) {
    if (error instanceof FindingsError) return error.findings;
    throw error;
  }
  return [];
}

/** Everything in the facts that is a row, wherever it sits. */
function rowsIn(value: unknown, seen = new Set<object>()): Row[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return [];
  seen.add(value);
  if (value instanceof Map) return [...value.values()].flatMap((member) => rowsIn(member, seen));
  const own = 'sources' in value && 'confidence' in value ? [value as Row] : [];
  return [...own, ...Object.values(value).flatMap((member) => rowsIn(member, seen))];
}

describe('the product’s own facts', () => {
  test('have a source in every row', () => {
    const rows = rowsIn(facts);
    expect(rows.length).toBeGreaterThan(500);
    for (const row of rows) {
      expect(row.sources.length, JSON.stringify(row.location)).toBeGreaterThan(0);
      expect(row.location.line).toBeGreaterThan(1);
    }
  });

  test('have no source that no row names', async () => {
    const used = new Map<string, Set<string>>();
    for (const { location, sources } of rowsIn(facts)) {
      const keys = used.get(location.file) ?? new Set();
      used.set(location.file, keys);
      for (const { key } of sources) keys.add(key);
    }
    expect(used.size).toBeGreaterThan(15);
    for (const [file, keys] of used) {
      const { sources } = parse(await readFile(file, 'utf8')) as { readonly sources: object };
      expect(
        Object.keys(sources).filter((key) => !keys.has(key)),
        file,
      ).toEqual([]);
    }
  });

  test('hold sane numbers', () => {
    for (const gpu of allGpus(facts)) {
      if (gpu.memory !== undefined) expect(gpu.memory).toBeLessThanOrEqual(512);
      expect(gpu.pci.length).toBeGreaterThan(0);
    }
    for (const gpu of facts.nvidia.gpus) {
      expect(gpu.pci.every((id) => id.startsWith('10de:'))).toBe(true);
      const largest = gpu.mig?.at(-1);
      if (largest !== undefined) expect(Number(/\.(\d+)gb$/.exec(largest)?.[1])).toBe(gpu.memory);
    }
    for (const { endOfLife } of facts.nvidia.branches.values()) {
      if (endOfLife !== undefined) expect(Number(endOfLife.slice(0, 4))).toBeGreaterThan(2020);
    }
  });

  test('give every alias to one product', () => {
    const names = allGpus(facts).flatMap(({ aliases }) => aliases);
    expect(new Set(names).size).toBe(names.length);
  });

  test('have a digest that text around the facts does not change', async () => {
    const commented = await edited('nvidia/branches.yaml', (text) => `# a comment\n${text}`);
    expect((await loadFacts(commented)).digest).toBe(facts.digest);
    const changed = await edited('nvidia/branches.yaml', (text) => text.replace('2027-03', '2027-04'));
    expect((await loadFacts(changed)).digest).not.toBe(facts.digest);
  });
});

describe('refused, at its place', () => {
  const row = '\n  - product: Twin\n    names: [twin]\n';
  const twin = (members: string) => (text: string) => text.replace('\ngpus:\n', `\ngpus:${row}${members}`);
  const rest = "    capability: '9.0'\n    since: ['580+']\n    source: modules\n";

  test.each<[string, string, (text: string) => string, string]>([
    [
      'a row without a source',
      'nvidia/branches.yaml',
      (text) => text.replace(/\n {4}source: \[docs-615, cudnn\]/, ''),
      'source is missing',
    ],
    [
      'an empty list of sources',
      'nvidia/branches.yaml',
      (text) => text.replace('[docs-615, cudnn]', '[]'),
      'must not be empty',
    ],
    [
      'an unknown source',
      'nvidia/branches.yaml',
      (text) => text.replace('[docs-615, cudnn]', '[docs-651]'),
      '"docs-651" is not in the `sources`',
    ],
    [
      'two GPUs with one PCI id',
      'nvidia/gpus/data-center.yaml',
      twin(`    pci: [10de:2330]\n${rest}`),
      'has the PCI id 10de:2330',
    ],
    [
      'an alias used twice',
      'nvidia/gpus/data-center.yaml',
      (text) => text.replace('names: [l40s]', 'names: [l40s, l40]'),
      '"l40" is already the name of L40',
    ],
    [
      'an alias that is a series',
      'nvidia/gpus/data-center.yaml',
      (text) => text.replace('names: [l40s]', 'names: [l40s, h100]'),
      'the series "h100" is already the name of L40S',
    ],
    [
      'a branch twice',
      'nvidia/branches.yaml',
      (text) => `${text}  - { branch: 580, type: production, status: eol, source: life }\n`,
      'branch 580 is already in line',
    ],
    [
      'a release outside of any branch',
      'nvidia/releases.yaml',
      (text) => `${text}  - { version: '599.10', source: open }\n`,
      '599.10 belongs to branch 599',
    ],
    [
      'a listed release of another branch',
      'nvidia/branches.yaml',
      (text) => text.replace("last: '580.142'", "last: '590.48.01'"),
      '590.48.01 is not in branch 580',
    ],
    [
      'a minimum above the maximum',
      'nvidia/kernels.yaml',
      (text) => text.replace('>= 6.12.97, < 6.13', '>= 6.13, < 6.12.97'),
      'admits nothing',
    ],
    [
      'an architecture that ends before it begins',
      'nvidia/architectures.yaml',
      (text) => text.replace('lastBranch: 580', 'lastBranch: 300'),
      'Maxwell ends at branch 300, before its first branch 340',
    ],
    [
      'a GPU in a branch that its architecture is not in',
      'nvidia/gpus/data-center.yaml',
      twin("    pci: [10de:ffff]\n    capability: '7.0'\n    since: ['595.45.04']\n    source: modules\n"),
      'branch 595 does not support Volta',
    ],
    [
      'an unknown fabric',
      'nvidia/gpus/data-center.yaml',
      (text) => text.replace('fabric: nvswitch-4', 'fabric: nvswitch-9'),
      '"nvswitch-9" is not a system of fabric.yaml',
    ],
    [
      'an unknown first release',
      'nvidia/gpus/data-center.yaml',
      (text) => text.replace("since: ['580.142']", "since: ['580.141']"),
      '580.141 is not in releases.yaml',
    ],
    [
      'a build that works and fails',
      'nvidia/kernels.yaml',
      (text) =>
        text.replace(
          'reports:\n',
          "reports:\n  - { component: nvidia-fs, kernel: '= 6.17', result: works, source: gds-64 }\n",
        ),
      'this build fails, but it works in line',
    ],
    [
      'a version that YAML takes for a number',
      'nvidia/releases.yaml',
      (text) => `${text}  - { version: 570.190, source: open }\n`,
      'write "570.190"',
    ],
    [
      'an unknown key',
      'runtimes.yaml',
      (text) => text.replace('statusSince:', 'statusSinc:'),
      'unknown key "statusSinc"',
    ],
    [
      'a successor that is no runtime',
      'runtimes.yaml',
      (text) => text.replace('[vllm, sglang]', '[vlm]'),
      'there is no runtime "vlm"',
    ],
    [
      'a floor for a GPU that is not there',
      'nvidia/issues.yaml',
      (text) => text.replace('gpus: [b200]', 'gpus: [b201]'),
      'no GPU is called "b201"',
    ],
  ])('%s', async (_name, file, edit, message) => {
    const folder = await edited(file, edit);
    const findings = await findingsOf(folder);
    expect(findings.map((finding) => finding.message).join('\n')).toContain(message);
    expect(findings.every(({ code }) => code === 'FACTS_INVALID')).toBe(true);
    const finding = findings.find((each) => each.message.includes(message));
    expect(finding?.location?.file).toBe(join(folder, file));
    expect(finding?.location?.line).toBeGreaterThan(1);
  });

  test('the nearest source is suggested', async () => {
    const folder = await edited('nvidia/branches.yaml', (text) =>
      text.replace('[docs-615, cudnn]', '[docs-651]'),
    );
    expect((await findingsOf(folder))[0]?.suggestions).toEqual(['docs-615']);
  });

  test('a file that nothing reads, and a folder without facts', async () => {
    const folder = await edited('amd.yaml', (text) => `${text}\n`);
    await writeFile(join(folder, 'nvidia/boards.yaml'), 'boards: []\n');
    expect((await findingsOf(folder))[0]?.message).toContain('boards.yaml is not a table that Ingot knows');
    await expect(loadFacts(join(scratch, 'nothing'))).rejects.toMatchObject({ code: 'FACTS_INVALID' });
  });
});

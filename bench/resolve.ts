/**
 * `bench resolve`: how long it takes to judge declarations before anything is fetched, and to lock one. Nothing else
 * judges declarations, so that there is a peer for locks alone.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { BenchContext, Benchmark } from './benchmark.ts';
import { benchLock } from './lock.ts';
import { measure } from './measure.ts';
import { figuresOf, rowOf, type Row, type Sample } from './result.ts';

const DECLARATIONS = 1000;
const SOLVES = 2000;

/** Each with something of its own: about a third of them are refused. */
const GPUS = [
  'h100-sxm',
  'b200',
  'l40s',
  'a100-sxm4-80gb',
  'v100',
  't4',
  'rtx-4090',
  'h200',
  'hopper',
  'mi300x',
];
const DRIVERS = ['auto', 'nvidia@550', 'nvidia', '{ use: nvidia, modules: open }'];
const CUDAS = ['auto', "'12.4'", "'12.4'", "{ version: '12.4', toolkit: true }"];
const RUNTIMES = ['[pytorch]', '[]', '[pytorch@2.6]'];

export const resolve: Benchmark = {
  summary: 'judging declarations, and locking one beside apt-get',
  run: benchResolve,
};

async function benchResolve(context: BenchContext): Promise<readonly Row[]> {
  const { productRoot, rounds, scratch, signal } = context;
  const folder = join(scratch, 'declarations');
  await mkdir(folder);
  const names = await writeDeclarations(folder);
  const node = process.execPath;
  const options = {
    scratch,
    signal,
    onLine: (line: string) => {
      context.reporter.info(line);
    },
  };
  const main = join(productRoot, 'src/main.ts');
  const work = join(productRoot, 'bench/resolve-work.ts');
  const validated: Sample[] = [];
  // As with the command itself, compiled code and parsed facts are there from the first run on.
  const solving = { ...options, env: { NODE_COMPILE_CACHE: join(scratch, 'code') } };
  await measure([node, work, folder, '1'], solving);
  const solves = { first: [] as Sample[], middle: [] as Sample[], late: [] as Sample[] };
  for (let round = 0; round < rounds; round += 1) {
    const all = await measure(['sh', '-c', VALIDATE, 'sh', node, main, folder], options);
    requireVerdicts(all.stdout, names.length);
    validated.push({ ...all.measurement, bytes: Buffer.byteLength(all.stdout) });

    const { measurement, stdout } = await measure([node, work, folder, String(SOLVES)], solving);
    const times = JSON.parse(stdout) as Record<keyof typeof solves, Pick<Sample, 'wall' | 'cpu'>>;
    for (const which of ['first', 'middle', 'late'] as const) {
      solves[which].push({ ...times[which], rss: measurement.rss, bytes: 0 });
    }
  }
  return [
    rowOf(`validate ${DECLARATIONS} declarations`, figuresOf(validated), null),
    rowOf('one solve, the first of a process', figuresOf(solves.first), null),
    rowOf(`one solve, the middle of ${SOLVES}`, figuresOf(solves.middle), null),
    rowOf('one solve, slower than 99 in 100', figuresOf(solves.late), null),
    ...(await benchLock(context, options)),
  ];
}

/** A refused declaration ends it with 2, which is a result here and no failure. */
const VALIDATE = `"$1" "$2" validate --json "$3"/*.yaml >"$3/result.json"; code=$?
test "$code" -le 2 && cat "$3/result.json"`;

async function writeDeclarations(folder: string): Promise<readonly string[]> {
  const pick = (list: readonly string[], index: number): string => list[index % list.length] ?? '';
  const names = Array.from(
    { length: DECLARATIONS },
    (_, index) => `node-${String(index).padStart(4, '0')}.yaml`,
  );
  await Promise.all(
    names.map((name, index) =>
      writeFile(
        join(folder, name),
        [
          `name: node-${index}`,
          'base: debian@13',
          'kernel: generic',
          `gpus: [${pick(GPUS, index)}${index % 3 === 0 ? `, ${pick(GPUS, index + 2)}` : ''}]`,
          `driver: ${pick(DRIVERS, Math.floor(index / 10))}`,
          `cuda: ${pick(CUDAS, Math.floor(index / 40))}`,
          `runtimes: ${pick(RUNTIMES, Math.floor(index / 7))}`,
          '',
        ].join('\n'),
      ),
    ),
  );
  return names;
}

/** @throws TypeError unless there is a verdict for every declaration, and not the same for all */
function requireVerdicts(stdout: string, count: number): void {
  const { files } = JSON.parse(stdout) as { readonly files: readonly { readonly verdict: string }[] };
  const verdicts = new Set(files.map(({ verdict }) => verdict));
  if (files.length !== count || verdicts.size < 2)
    throw new TypeError(`${files.length} of ${count} declarations were judged, all ${[...verdicts].join()}`);
}

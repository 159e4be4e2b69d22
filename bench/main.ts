/**
 * `npm run bench -- NAME`: runs Ingot and what it is compared with in one go, in turn, and prints the figures.
 *
 * stdout carries the result alone, progress goes to stderr. A run may be interrupted at any time and leaves nothing
 * but downloaded packages and what was built of them.
 */
import { homedir } from 'node:os';
import { join, resolve as resolvePath } from 'node:path';
import { parseArgs } from 'node:util';

import { errorToJson, renderError } from '../src/cli/render-error.ts';
import { openReporting } from '../src/cli/reporting.ts';
import { PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { exitCodeOf, IngotError } from '../src/errors.ts';
import { killAllGroups } from '../src/proc/children.ts';
import { createReporter, type Reporter } from '../src/report/events.ts';
import { formatBytes } from '../src/report/format.ts';
import { createPalette, wantsColor } from '../src/report/palette.ts';
import { collect } from '../src/store/collect.ts';
import { Store } from '../src/store/store.ts';
import { base } from './base.ts';
import type { Benchmark } from './benchmark.ts';
import { build } from './build.ts';
import { deltas } from './deltas.ts';
import { node } from './node.ts';
import { registry } from './registry.ts';
import { resolve } from './resolve.ts';
import { restart } from './restart.ts';
import { BENCH_SCHEMA_VERSION, describeMachine, renderResult, type BenchResult } from './result.ts';

const BENCHMARKS: ReadonlyMap<string, Benchmark> = new Map([
  ['base', base],
  ['build', build],
  ['deltas', deltas],
  ['node', node],
  ['registry', registry],
  ['resolve', resolve],
  ['restart', restart],
]);

const USAGE = `usage: npm run bench -- NAME [--rounds N] [--case WORDS] [--json] [--verbose]

${[...BENCHMARKS].map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`).join('\n')}

  --rounds N   how often each program runs; the figures are medians (default: 3)
  --case WORDS only the cases whose name has these words; what they need is prepared all the same
  --json       the result as JSON, with every sample
  --verbose    what the programs print, on stderr

Packages and what was built of them are kept in INGOT_BENCH_STORE (default: ~/.cache/ingot-bench), 16 GiB at most
from one run to the next.
`;

/** What a run may find of earlier ones: all that it can use again, and some more. */
const KEPT_BYTES = 16 * 1024 ** 3;

interface Arguments {
  readonly name: string;
  readonly rounds: number;
  readonly only: string;
  readonly json: boolean;
  readonly verbose: boolean;
}

function readArguments(args: readonly string[]): Arguments {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rounds: { type: 'string', default: '3' },
        case: { type: 'string', default: '' },
        json: { type: 'boolean', default: false },
        verbose: { type: 'boolean', short: 'v', default: false },
      },
    });
    const [name = '', ...more] = positionals;
    const rounds = Number(values.rounds);
    if (!BENCHMARKS.has(name)) throw new TypeError(name === '' ? 'name a benchmark' : `there is no ${name}`);
    if (more.length > 0) throw new TypeError(`one benchmark at a time, not also ${more.join(', ')}`);
    if (!Number.isInteger(rounds) || rounds < 1) throw new TypeError(`--rounds ${values.rounds} is no count`);
    return { name, rounds, only: values.case, json: values.json, verbose: values.verbose };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new IngotError('USAGE', error.message, { hint: USAGE, cause: error });
  }
}

async function bench(
  { name, rounds, only, json, verbose }: Arguments,
  signal: AbortSignal,
): Promise<BenchResult> {
  const benchmark = BENCHMARKS.get(name);
  if (benchmark === undefined) throw new TypeError(`no benchmark ${name}`);
  if (process.getuid?.() !== 0) {
    throw new IngotError('NOT_ROOT', 'building images takes root', {
      hint: 'run the same command with sudo',
    });
  }
  const { env, stderr } = process;
  const machine = describeMachine();
  const storePath = resolvePath(env['INGOT_BENCH_STORE'] ?? join(homedir(), '.cache/ingot-bench'));
  const store = await Store.open(storePath);
  await using reporting = openReporting({ verbose, color: true }, { stderr, env });
  const reporter = createReporter(reporting.sinks);
  await makeRoom(store, reporter, signal);
  await using _inUse = await store.use(signal);
  await using scratch = await store.scratch('bench');
  const rows = await benchmark.run({
    reporter,
    signal,
    env,
    cwd: process.cwd(),
    storePath,
    productRoot: PRODUCT_ROOT,
    now: () => new Date(),
    palette: createPalette(false),
    verbose,
    json,
    store,
    scratch: scratch.path,
    rounds,
    only,
  });
  return { schemaVersion: BENCH_SCHEMA_VERSION, name, machine, rounds, rows };
}

/** Each run makes later versions of packages, and what is built of them is of no use to the next. */
async function makeRoom(store: Store, reporter: Reporter, signal: AbortSignal): Promise<void> {
  await reporter.stage('Make room in the store', async (stage) => {
    const onWait = (): void => {
      reporter.info('waiting for whoever uses the store');
    };
    const { freedBytes } = await collect(store, { keepBytes: KEPT_BYTES, signal, onWait });
    if (freedBytes === 0) stage.cached('there is enough');
    else stage.detail(`${formatBytes(freedBytes)} freed`);
  });
}

const args = process.argv.slice(2);
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interruption.signal.aborted) {
      killAllGroups();
      process.exit(130);
    }
    interruption.abort();
  });
}

if (args.includes('--help') || args.includes('-h')) {
  process.stdout.write(USAGE);
} else {
  try {
    const parsed = readArguments(args);
    const result = await bench(parsed, interruption.signal);
    process.stdout.write(parsed.json ? `${JSON.stringify(result, null, 2)}\n` : renderResult(result));
  } catch (error) {
    const color = wantsColor({ isTerminal: process.stderr.isTTY, env: process.env, refused: false });
    process.stderr.write(
      renderError(error, { palette: createPalette(color), cwd: process.cwd(), verbose: false }),
    );
    if (args.includes('--json')) {
      process.stdout.write(
        `${JSON.stringify({ schemaVersion: BENCH_SCHEMA_VERSION, ...errorToJson(error) })}\n`,
      );
    }
    process.exitCode = exitCodeOf(error);
  }
}

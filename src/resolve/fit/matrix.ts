/** GPUs × drivers × CUDA × runtimes of a request: which pairs work, which with a limit, and why the others do not. */
import {
  branchOf,
  compareVersions,
  seriesOf,
  type CudaVersion,
  type DriverVersion,
} from '../../catalog/facts/versions.ts';
import { supportTier } from './driver-candidates.ts';
import { indexFacts } from './facts-index.ts';
import { poseProblem } from './problem.ts';
import type { FitContext, FitRequest, RuntimeAsk } from './request.ts';
import type { Rule } from './rule.ts';
import { RULES } from './rules.ts';
import { search } from './search.ts';

export interface MatrixCell {
  readonly verdict: 'yes' | 'limit' | 'no';
  /** Why not, or why with a limit. */
  readonly message?: string;
  /** Id of the rule behind it: one of the matrix's rules. */
  readonly rule?: string;
}

export interface MatrixRow {
  readonly driver: DriverVersion;
  /** Such as `long-term, until 2028-06`. */
  readonly support: string;
  /** True for what the solver would take for the whole request. */
  readonly isChosen: boolean;
  readonly cells: readonly MatrixCell[];
}

export interface MatrixTable {
  readonly gpu: string;
  readonly product: string;
  readonly rows: readonly MatrixRow[];
}

export interface Matrix {
  /** `CUDA 13.0`, `vllm@0.20`. */
  readonly columns: readonly string[];
  readonly tables: readonly MatrixTable[];
  /** Those that some cell names, in the order of the rules. */
  readonly rules: readonly Pick<Rule, 'id' | 'statement'>[];
}

/** What a pair of versions says nothing about: addons, arguments, and how long somebody mends a branch. */
const BESIDE_THE_POINT: ReadonlySet<string> = new Set([
  'fabric-components',
  'fabric-version',
  'fabric-kernel-modules',
  'kernel-module',
  'container-toolkit',
  'driver-end-of-life',
  'known-issue',
  'runtime-archived',
  'layer-requires',
]);

const MAX_CUDA = 12;

export function makeMatrix(request: FitRequest, context: FitContext): Matrix {
  // What was asked for first: it must be seen without scrolling.
  const columns = [...request.runtimes.filter(({ use }) => use !== ''), ...cudaColumns(context)];
  const chosen = search(poseProblem(request, context)).chosen?.driver?.version;
  const gpus = request.gpus.length === 0 ? [undefined] : request.gpus;
  const tables = gpus.map((gpu): MatrixTable => {
    const base: FitRequest = {
      gpus: gpu === undefined ? [] : [gpu],
      runtimes: [],
      addons: [],
      kernelArguments: [],
      mig: [],
      ...(request.architecture !== undefined && { architecture: request.architecture }),
    };
    const products = poseProblem(base, context).gpus.map((asked) => asked.gpu.product);
    return {
      gpu: gpu ?? 'any NVIDIA GPU',
      product:
        products.length === 1
          ? (products[0] ?? '')
          : products.length === 0
            ? ''
            : `${products.length} products`,
      rows: driversOf(context, chosen).map((driver) => ({
        driver,
        support: supportWords(driver, context),
        isChosen: driver === chosen,
        cells: columns.map((column) => cellOf(base, driver, column, context)),
      })),
    };
  });
  const names = columns.map((column) =>
    typeof column === 'string'
      ? `CUDA ${column}`
      : [column.use, ...(column.version === undefined ? [] : [column.version])].join(' '),
  );
  const named = new Set(
    tables.flatMap(({ rows }) => rows.flatMap(({ cells }) => cells.map(({ rule }) => rule))),
  );
  const rules = [...new Map(RULES.map(({ id, statement }) => [id, { id, statement }])).values()];
  return { columns: names, tables, rules: rules.filter(({ id }) => named.has(id)) };
}

/** Series, newest first; all that sources offer, or the last of those that are known. */
function cudaColumns({ facts, offers }: FitContext): CudaVersion[] {
  const versions =
    offers?.cuda?.map(({ version }) => version) ??
    indexFacts(facts).cudaSeries.flatMap(({ version, preview }) => (preview ? [] : [version]));
  return [...new Set(versions.map(seriesOf))].sort((a, b) => compareVersions(b, a)).slice(0, MAX_CUDA);
}

/** The newest of each branch, and what is chosen, newest first. */
function driversOf({ facts, offers }: FitContext, chosen: DriverVersion | undefined): DriverVersion[] {
  const versions =
    offers?.drivers?.flatMap(({ version }) => version ?? []) ??
    indexFacts(facts).drivers.map(({ version }) => version);
  const newest = new Map<number, DriverVersion>();
  for (const version of versions.toSorted(compareVersions)) newest.set(branchOf(version), version);
  const all = new Set([...newest.values(), ...(chosen === undefined ? [] : [chosen])]);
  return [...all].sort((a, b) => compareVersions(b, a));
}

function supportWords(driver: DriverVersion, { facts, now }: FitContext): string {
  const branch = facts.nvidia.branches.get(branchOf(driver));
  const until = branch?.endOfLife === undefined ? '' : ` until ${branch.endOfLife}`;
  const tier = supportTier(branch, now);
  switch (tier) {
    case 'long-term':
    case 'supported':
      return `${tier}${until}`;
    case 'unstated':
      return 'support not stated';
    case 'preview':
      return 'preview';
    case 'over':
      return 'end of life';
  }
}

function cellOf(
  base: FitRequest,
  driver: DriverVersion,
  column: CudaVersion | RuntimeAsk,
  context: FitContext,
): MatrixCell {
  const asked = { ...base, driver: { use: 'nvidia', version: driver, modules: 'auto' } as const };
  const request: FitRequest =
    typeof column === 'string'
      ? { ...asked, cuda: { version: column, compat: false } }
      : { ...asked, runtimes: [column] };
  const problem = poseProblem(request, context);
  const { chosen, judgements } = search(problem, BESIDE_THE_POINT);
  const told =
    chosen === undefined
      ? judgements.find(({ severity }) => severity === 'refuse')
      : judgements.find(({ severity }) => severity === 'warn');
  const verdict = chosen === undefined ? 'no' : told === undefined ? 'yes' : 'limit';
  if (told !== undefined) return { verdict, message: told.message, rule: told.rule.id };
  const [gap] = problem.gaps;
  return gap === undefined ? { verdict } : { verdict, message: gap.message };
}

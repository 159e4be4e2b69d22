/** `ingot plan`: what a build would do and why, without doing it. */
import { Command, Option } from 'commander';

import { compilePackagesOf, packagesOf, stepsToMake } from '../../build/missing-steps.ts';
import { findPackedLayer, packedBytes, type PackedLayer } from '../../build/packed-layer.ts';
import { openTreeStore } from '../../build/trees.ts';
import { reasonsToBuild, type Reason } from '../../compare/plan-record.ts';
import { hexOf } from '../../digest.ts';
import { formatOf, type LockedPackage } from '../../packages/package.ts';
import { boundBlobs, type BoundModel } from '../../plan/bound.ts';
import type { ModulesInput, Plan, PlanStep } from '../../plan/plan.ts';
import { formatBytes, formatCount, formatTable } from '../../report/format.ts';
import { Store } from '../../store/store.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { GRAPH_FORMATS, renderGraph, type GraphFormat } from '../plan-graph.ts';
import { readLastPlan } from '../last-plan.ts';
import { preparePlan } from '../prepare-plan.ts';

interface PlanOptions {
  readonly variant?: string;
  readonly lock?: string;
  readonly graph?: GraphFormat;
}

export function planCommand(bind: Bind): Command {
  return new Command('plan')
    .description('Show the layers of an image, which of them the store has, what has to be built, and why.')
    .argument('<file>', 'declaration, such as images/debian-minimal.yaml')
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'another lock than the one beside the declaration')
    .addOption(
      new Option('--graph <format>', 'print what stands on what, for Graphviz or Mermaid').choices(
        GRAPH_FORMATS,
      ),
    )
    .addHelpText(
      'after',
      `
Examples:
  ingot plan images/debian-minimal.yaml
  ingot plan images/debian-minimal.yaml --json | jq '.steps[] | select(.cached | not)'
  ingot plan images/debian-minimal.yaml --graph dot | dot -Tsvg > plan.svg
`,
    )
    .action(bind(showPlan));
}

interface Row {
  readonly step: PlanStep;
  readonly layer: PackedLayer | undefined;
  /** Of its package files. */
  readonly packageBytes: number;
  /** Bytes of its blobs: known of what is there, taken from the last build of what is not. */
  readonly size: number | undefined;
  readonly reasons: readonly Reason[];
}

async function showPlan(context: CommandContext, file: string, options: PlanOptions): Promise<CommandResult> {
  const prepared = await preparePlan(context, file, options);
  const { plan, builder } = prepared;
  const store = await Store.open(context.storePath);
  const last = await readLastPlan(store, prepared);
  const found = new Map<string, PackedLayer>();
  for (const step of plan.steps) {
    const layer = await findPackedLayer(store, step.key);
    if (layer !== undefined) found.set(step.name, layer);
  }
  const reasons = reasonsToBuild(plan, builder, last, ({ name }) => found.has(name));
  const rows = await Promise.all(
    plan.steps.map(async (step): Promise<Row> => {
      const layer = found.get(step.name);
      const key = last?.steps.find(({ name }) => name === step.name)?.key;
      const old = layer ?? (key === undefined ? undefined : await findPackedLayer(store, key));
      return {
        step,
        layer,
        packageBytes: bytesOf(step.packages),
        size: old === undefined ? undefined : packedBytes(old),
        reasons: reasons.get(step.name) ?? [],
      };
    }),
  );
  const trees = await openTreeStore(store);
  const making = await stepsToMake(plan, trees, found);
  const missing = await absentFrom(store, [
    ...packagesOf(making),
    ...(await compilePackagesOf(making, trees)),
  ]);
  const fetch = { packages: missing.length, bytes: bytesOf(missing) };
  const bound = describeBound(plan);
  const graph = rows.map(({ step, layer, size }) => ({
    name: step.name,
    needs: step.needs,
    cached: layer !== undefined,
    detail: layer === undefined ? 'to build' : `in the store, ${formatBytes(size ?? 0)}`,
  }));
  return {
    json: {
      name: plan.name,
      version: plan.version,
      kernel: plan.kernelRelease,
      key: plan.key,
      fetch,
      ...(bound !== undefined && { bound }),
      steps: rows.map(jsonOf),
    },
    text:
      options.graph === undefined
        ? renderPlan(titleOf(plan), rows, fetch, bound)
        : renderGraph(graph, options.graph),
  };
}

function titleOf({ name, version, kernelRelease }: Plan): string {
  return `${name} ${version}, ${kernelRelease === '' ? 'no kernel' : `kernel ${kernelRelease}`}`;
}

function jsonOf({ step, layer, packageBytes, size, reasons }: Row): Readonly<Record<string, unknown>> {
  return {
    name: step.name,
    kind: step.kind,
    key: step.key,
    needs: step.needs,
    packages: step.packages.length,
    packageBytes,
    ...(step.modules !== undefined && { modules: describeModules(step.modules) }),
    cached: layer !== undefined,
    chunks: step.chunks.map(({ name, packages: names }) => ({ name, packages: names })),
    ...(size !== undefined && (layer === undefined ? { lastSize: size } : { size })),
    reasons,
  };
}

function renderPlan(
  title: string,
  rows: readonly Row[],
  fetch: { readonly packages: number; readonly bytes: number },
  bound: DescribedBound | undefined,
): string {
  const columns = ['LAYER', 'KEY', 'STATE', 'FROM', 'ON'].map((heading) => ({ title: heading }));
  const table = formatTable(
    columns,
    rows.map(({ step, layer, size, packageBytes }) => [
      step.name,
      hexOf(step.key).slice(0, 12),
      layer === undefined
        ? `to build${size === undefined ? '' : `, last ${formatBytes(size)}`}`
        : `in the store, ${formatBytes(size ?? 0)}`,
      contentOf(step, packageBytes),
      step.needs.join(' '),
    ]),
  );
  const missing = rows.filter(({ layer }) => layer === undefined);
  const beside =
    bound === undefined
      ? []
      : [
          `Beside it, nodes pull: ${[
            ...bound.containers.map(({ name, reference }) => `${name} (${reference})`),
            ...bound.models.map(({ name, reference }) => `${name} (${reference})`),
          ].join(', ')}; ${formatBytes(bound.bytes)}.`,
        ];
  if (missing.length === 0) return `${[title, '', table, '', ...beside, 'Nothing to build.'].join('\n')}\n`;
  const width = Math.max(...missing.map(({ step }) => step.name.length));
  const why = missing.map(
    ({ step, reasons }) => `  ${step.name.padEnd(width)}  ${reasons.map(({ text }) => text).join('; ')}`,
  );
  const toFetch =
    fetch.packages === 0
      ? 'Every package for it is in the store.'
      : `To fetch: ${formatCount(fetch.packages, 'package')}, ${formatBytes(fetch.bytes)}.`;
  return `${[title, '', table, '', `${formatCount(missing.length, 'layer')} to build:`, ...why, '', ...beside, toFetch].join('\n')}\n`;
}

interface DescribedBound {
  readonly containers: readonly {
    readonly name: string;
    readonly reference: string;
    readonly digest: string;
  }[];
  readonly models: DescribedBound['containers'];
  readonly bytes: number;
}

/** Containers and models that belong to the image. */
function describeBound({ facts: { bound } }: Plan): DescribedBound | undefined {
  if (bound === undefined) return undefined;
  const describe = (
    place: string,
    { name, tag, digest }: Pick<BoundModel, 'name' | 'tag' | 'digest'>,
  ): DescribedBound['models'][0] => ({
    name,
    reference: tag === undefined ? `${place}@${digest}` : `${place}:${tag}`,
    digest,
  });
  return {
    containers: bound.containers.map((one) => describe(one.image, one)),
    models: bound.models.map((one) => describe(one.artifact, one)),
    bytes: boundBlobs(bound)
      .values()
      .reduce((sum, size) => sum + size, 0),
  };
}

function bytesOf(packages: readonly LockedPackage[]): number {
  return packages.reduce((sum, { size }) => sum + size, 0);
}

/** Each file once. */
async function absentFrom(store: Store, packages: readonly LockedPackage[]): Promise<LockedPackage[]> {
  const once = [...new Map(packages.map((item) => [item.sha256, item])).values()];
  const there = await Promise.all(once.map((item) => store.hasPackage(item.sha256, formatOf(item))));
  return once.filter((_item, index) => there[index] === false);
}

/** What a step is made from, in a few words. */
function contentOf({ packages, modules }: PlanStep, bytes: number): string {
  if (modules !== undefined) {
    const { source, patches } = modules;
    return [`${source.name} ${source.version}`, ...patches.map(({ name }) => `patch ${name}`)].join(', ');
  }
  return packages.length === 0 ? '' : `${formatCount(packages.length, 'package')}, ${formatBytes(bytes)}`;
}

function describeModules({ source, patches, compile }: ModulesInput): unknown {
  return {
    source: source.name,
    version: source.version,
    patches: patches.map(({ name }) => name),
    buildPackages: compile.packages.length,
  };
}

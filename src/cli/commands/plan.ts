/** `ingot plan`: what a build would do, without doing it. */
import { Command } from 'commander';

import { findPackedLayer, packedBytes } from '../../build/packed-layer.ts';
import { hexOf } from '../../digest.ts';
import { formatBytes, formatCount, formatTable } from '../../report/format.ts';
import { Store } from '../../store/store.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { preparePlan } from '../prepare-plan.ts';

interface PlanOptions {
  readonly variant?: string;
  readonly lock?: string;
}

export function planCommand(bind: Bind): Command {
  return new Command('plan')
    .description('Show the layers of an image, which of them the store has, and what has to be built.')
    .argument('<file>', 'declaration, such as images/debian-minimal.yaml')
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'another lock than the one beside the declaration')
    .addHelpText(
      'after',
      `
Examples:
  ingot plan images/debian-minimal.yaml
  ingot plan images/debian-minimal.yaml --json | jq '.steps[] | select(.cached | not)'
`,
    )
    .action(bind(showPlan));
}

async function showPlan(context: CommandContext, file: string, options: PlanOptions): Promise<CommandResult> {
  const { plan } = await preparePlan(context, file, options);
  const store = await Store.open(context.storePath);
  const steps = await Promise.all(
    plan.steps.map(async (step) => {
      const layer = await findPackedLayer(store, step.key);
      const packages = step.packages.reduce((sum, { size }) => sum + size, 0);
      return { step, layer, packages };
    }),
  );
  const missing = steps.filter(({ layer }) => layer === undefined);
  const rows = steps.map(({ step, layer, packages }) => [
    step.name,
    hexOf(step.key).slice(0, 12),
    layer === undefined ? 'to build' : `in the store, ${formatBytes(packedBytes(layer))}`,
    step.packages.length === 0
      ? ''
      : `${formatCount(step.packages.length, 'package')}, ${formatBytes(packages)}`,
    step.needs.join(' '),
  ]);
  const columns = ['LAYER', 'KEY', 'STATE', 'FROM', 'ON'].map((title) => ({ title }));
  const verdict =
    missing.length === 0
      ? 'Nothing to build.'
      : `${formatCount(missing.length, 'layer')} to build: ${missing.map(({ step }) => step.name).join(', ')}.`;
  return {
    json: {
      name: plan.name,
      version: plan.version,
      kernel: plan.kernelRelease,
      key: plan.key,
      steps: steps.map(({ step, layer, packages }) => ({
        name: step.name,
        kind: step.kind,
        key: step.key,
        needs: step.needs,
        packages: step.packages.length,
        packageBytes: packages,
        cached: layer !== undefined,
        chunks: step.chunks.map(({ name, packages: names }) => ({ name, packages: names })),
        ...(layer !== undefined && { size: packedBytes(layer) }),
      })),
    },
    text: `${plan.name} ${plan.version}, kernel ${plan.kernelRelease}\n\n${formatTable(columns, rows)}\n\n${verdict}\n`,
  };
}

/** `ingot quickstart`: lock, build, install and boot in one go. */
import { Command } from 'commander';
import { relative } from 'node:path';

import { formatBytes, formatSeconds, wrapText } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { quickstart, type QuickstartOutcome } from '../quickstart.ts';

/** The summary fits a terminal of 100 columns. */
const NAME_COLUMNS = 10;
const TEXT_COLUMNS = 88;

interface QuickstartFlags {
  readonly output: string;
  readonly again?: true;
}

export function quickstartCommand(bind: Bind): Command {
  return new Command('quickstart')
    .description('Lock, build, install and boot an image in one go. What has not changed is not done again.')
    .argument('[file]', 'declaration', 'images/debian-minimal.yaml')
    .option('-o, --output <dir>', 'folder for the layout and, where needed, a fresh lock', 'build/quickstart')
    .option('--again', 'boot the image also when it was seen healthy before')
    .addHelpText(
      'after',
      `
Examples:
  ingot quickstart
  ingot quickstart images/mine.yaml --output /srv/mine
  ingot quickstart --again --json | jq .node
`,
    )
    .action(bind(runQuickstart));
}

async function runQuickstart(
  context: CommandContext,
  file: string,
  { output, again }: QuickstartFlags,
): Promise<CommandResult> {
  const started = performance.now();
  const outcome = await quickstart(context, file, { output, again: again === true });
  const seconds = (performance.now() - started) / 1000;
  const { built, boot, lock, disk, stages, bootedEarlier } = outcome;
  return {
    json: {
      verdict: boot.healthy ? 'healthy' : 'unhealthy',
      digest: built.image.digest,
      ref: built.ref,
      lock,
      disk,
      layers: built.image.layers.map(({ name, size, cached, chunks }) => ({ name, size, cached, chunks })),
      stages,
      accelerator: boot.accelerator,
      ...(bootedEarlier !== undefined && { bootedEarlier }),
      node: boot.report,
      checks: boot.checks,
      complaints: boot.complaints,
      seconds,
    },
    text: renderQuickstart(context, outcome, seconds),
    exitCode: boot.healthy ? 0 : 1,
  };
}

function renderQuickstart(
  { cwd }: CommandContext,
  { built, boot, lock, stages, bootedEarlier }: QuickstartOutcome,
  seconds: number,
): string {
  const { plan, image } = built;
  const { report } = boot;
  const total = image.layers.reduce((sum, { size }) => sum + size, 0);
  const readOnly = report.writes.filter(({ writable }) => !writable).map(({ path }) => path);
  const failed =
    report.failedUnits.length === 0 ? 'no failed unit' : `${report.failedUnits.length} failed units`;
  const how = boot.accelerator === 'kvm' ? 'KVM' : 'emulated, since KVM is not usable here';
  const when =
    bootedEarlier === undefined ? '' : `; seen healthy at ${bootedEarlier}, --again boots it again`;
  const row = (name: string, text: string): string =>
    wrapText(text, TEXT_COLUMNS)
      .map((line, index) => `  ${(index === 0 ? name : '').padEnd(NAME_COLUMNS)}${line}`)
      .join('\n');
  const shown = (path: string): string => {
    const near = relative(cwd, path);
    return near.startsWith('..') ? path : near;
  };
  const timed = stages.filter(({ seconds: took }) => took >= 0.1);
  return [
    `${plan.name} ${plan.version} ${boot.healthy ? 'is a healthy node' : 'is NOT healthy'}`,
    '',
    row('image', image.digest),
    row(
      'layers',
      `${image.layers.map(({ name, size }) => `${name} ${formatBytes(size)}`).join(', ')}; ${formatBytes(total)} in all`,
    ),
    row('node', `${report.state}, ${failed}, read-only: ${readOnly.join(' ') || 'nothing'}`),
    row('', `${report.system}, kernel ${report.kernel}`),
    row('booted', `${how}${when}`),
    ...boot.checks.map(({ name, healthy }) => row('', `${healthy ? '✔' : '✖'} ${name}`)),
    ...boot.complaints.map((complaint) => row('', `✖ ${complaint}`)),
    row(
      'seconds',
      timed.map(({ title, seconds: took }) => `${title} ${took.toFixed(1)}`).join(', ') || 'nothing to do',
    ),
    row('', `${formatSeconds(seconds)} in all`),
    row('files', `${built.ref}, ${shown(lock)}`),
    '',
    'Next:',
    `  npx ingot disk ${built.ref} --output node.raw    a disk to keep`,
    `  npx ingot plan ${built.spec.file}    what a change would rebuild`,
    '',
  ].join('\n');
}

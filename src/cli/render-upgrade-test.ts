/** The result of an upgrade test as text. */
import type { UpgradeTest } from '../disk/upgrade/upgrade-test.ts';
import { UPGRADE_STEPS } from '../disk/upgrade/upgrade-test.ts';
import type { InstallableImage } from '../ostree/import-image.ts';
import { formatBytes, formatCount, formatSeconds } from '../report/format.ts';
import { printableName } from '../report/printable.ts';

type Named = Pick<InstallableImage, 'name' | 'version'>;

export function renderUpgradeTest(
  { from, to }: { readonly from: Named; readonly to: Named },
  result: UpgradeTest,
): string {
  const { passed, steps, complaints, pulled, pulledAgain, restart, defaults, edits } = result;
  const label = (one: Named): string => `${one.name} ${one.version}`;
  const way = `${label(from)} → ${from.name === to.name ? to.version : label(to)}`;
  const facts: (readonly [string, string])[] = [];
  if (pulled !== undefined) {
    const more = pulledAgain === undefined ? '' : `, then ${formatBytes(pulledAgain.bytes)}`;
    facts.push(['pulled', `${formatBytes(pulled.bytes)} in ${formatCount(pulled.layers, 'layer')}${more}`]);
  }
  if (restart !== undefined) facts.push(['restart', renderRestart(restart)]);
  if (edits.length > 0) facts.push(['edits', edits.map(({ path, what }) => `${path} ${what}`).join(', ')]);
  if (defaults !== undefined) {
    facts.push([
      '/etc',
      `${formatCount(defaults.moved, 'default')} of the new image differ, ${defaults.stale.length} are stale`,
    ]);
  }
  if (result.isPolicySetAside)
    facts.push(['signatures', 'not asked for: the policy of the old image was set aside']);
  facts.push(['machine', result.accelerator === 'kvm' ? 'KVM' : 'emulated (no usable KVM)']);
  const last = steps.findLast(({ name }) => name !== 'power off');
  const lines = UPGRADE_STEPS.map((name) => {
    const step = steps.find((one) => one.name === name);
    if (step === undefined) return `  - ${name}: not reached`;
    return `  ${!passed && step === last ? '✖' : '✔'} ${name} (${formatSeconds(step.seconds)})`;
  });
  const text = [
    `${way}: ${passed ? 'the update goes well, and back' : 'the update does not go well'}, ${formatSeconds(result.seconds)}`,
    '',
    ...facts.map(([name, value]) => `  ${name.padEnd(12)}${printableName(value)}`),
    ...lines,
  ];
  if (!passed) {
    text.push('', ...complaints.map((complaint) => `  ✖ ${printableName(complaint)}`));
    text.push('', 'console:', result.console.replaceAll(/^/gm, '    '));
  }
  return `${text.join('\n')}\n`;
}

function renderRestart({ kind, reasons, seconds }: NonNullable<UpgradeTest['restart']>): string {
  const down = seconds === undefined ? '' : `, down for ${formatSeconds(seconds)}`;
  if (kind === 'soft') return `user space alone${down}`;
  return `in full${down}${reasons.length === 0 ? '' : `: ${reasons.join('; ')}`}`;
}

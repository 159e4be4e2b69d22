/** The result of a boot test as text. */
import type { BootTest } from '../disk/boot-test.ts';
import { formatSeconds } from '../report/format.ts';

/** @param subject what was booted, such as `debian-minimal 20260801.0` */
export function renderBootTest(subject: string, result: BootTest): string {
  const { report, checks, stages } = result;
  const places = report.writes.filter(({ writable }) => !writable).map(({ path }) => path);
  const facts: readonly (readonly [string, string])[] = [
    ['system', report.system],
    ['kernel', report.kernel],
    [
      'state',
      `${report.state}, ${report.failedUnits.length === 0 ? 'no' : report.failedUnits.length} failed units`,
    ],
    ['read-only', places.length === 0 ? 'nothing' : places.join(' ')],
    ['deployment', report.deployment === undefined ? 'none' : report.deployment.checksum.slice(0, 12)],
    ['machine', result.accelerator === 'kvm' ? 'KVM' : 'emulated (no usable KVM)'],
    ['times', stages.map(({ name, seconds }) => `${name} ${formatSeconds(seconds)}`).join(', ')],
  ];
  const lines = facts.map(([name, value]) => `  ${name.padEnd(12)}${value}`);
  for (const { name, healthy, seconds, output } of checks) {
    lines.push(`  ${healthy ? '✔' : '✖'} ${name} (${formatSeconds(seconds)})`);
    if (!healthy && output !== '') lines.push(indent(output));
  }
  const verdict = result.healthy ? 'is healthy' : 'is not healthy';
  const text = [`${subject} ${verdict}, ${formatSeconds(result.seconds)}`, '', ...lines];
  if (!result.healthy) {
    text.push('', ...result.complaints.map((complaint) => `  ✖ ${complaint}`));
    for (const { name, journal } of report.failedUnits) text.push('', `${name}:`, indent(journal));
    text.push('', 'console:', indent(result.console));
  }
  return `${text.join('\n')}\n`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}

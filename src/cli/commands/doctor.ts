/** `ingot doctor`: whether this machine can build, and how to mend what is missing. */
import { Command } from 'commander';

import type { Bind, CommandContext, CommandResult } from '../context.ts';
import type { Check } from '../doctor/check.ts';

const MARKS = { pass: '✔', warn: '!', fail: '✖' } as const;

export function doctorCommand(bind: Bind): Command {
  return new Command('doctor')
    .description('check what this machine has, and say how to mend what is missing')
    .addHelpText(
      'after',
      `
Exit code 1 when a check failed: builds do not work before it is mended. A warning names something that works
less well, or that only some commands need.

Examples:
  ingot doctor
  ingot doctor --json
`,
    )
    .action(bind((context) => examine(context)));
}

async function examine(context: CommandContext): Promise<CommandResult> {
  const { runChecks } = await import('../doctor/checks.ts');
  const checks = await runChecks(context);
  const failed = checks.filter(({ status }) => status === 'fail').length;
  return {
    json: { healthy: failed === 0, checks },
    text: renderChecks(checks),
    exitCode: failed === 0 ? 0 : 1,
  };
}

function renderChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, found, mend }) => [
    `${MARKS[status]} ${name.padEnd(width)}  ${found}`,
    ...(mend === undefined ? [] : [`  ${' '.repeat(width)}  → ${mend}`]),
  ]);
  const count = (status: Check['status']): number => checks.filter((check) => check.status === status).length;
  return `${lines.join('\n')}\n\n${count('pass')} fine, ${count('warn')} warnings, ${count('fail')} failed\n`;
}

/** `ingot node check`: the gate, run now. */
import { join } from 'node:path';

import { runGate } from '../../node/gate/gate.ts';
import { type LastVerdict, writeVerdict } from '../../node/gate/last-verdict.ts';
import { requireBooted } from '../../node/update.ts';
import { formatCount, formatSeconds } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { lockNode, openNode, STATE_FOLDER } from './open-node.ts';

export const VERDICT_FILE = join(STATE_FOLDER, 'gate.json');

export async function checkNode(context: CommandContext): Promise<CommandResult> {
  const { engine, gpus } = await openNode(context);
  await using _lock = await lockNode(context);
  const { id, version } = requireBooted(await engine.deployments());
  const verdict = await context.reporter.stage('Check the node', (stage) =>
    runGate({
      gpus,
      signal: context.signal,
      onCheck: (done, total, name) => {
        stage.progress(done, total, 'items', name);
      },
    }),
  );
  const at = context.now().toISOString();
  const last = await writeVerdict(VERDICT_FILE, verdict, { at, deployment: id });
  return {
    json: { ...last },
    text: [`${version ?? 'the node'} ${sentenceOf(last)}`, ...renderChecks(last)].join('\n'),
    exitCode: last.healthy ? 0 : 1,
  };
}

export function sentenceOf({ healthy, checks }: LastVerdict): string {
  const failed = checks.filter((check) => !check.healthy);
  if (failed.length === 0) return `is healthy: ${formatCount(checks.length, 'check')} passed`;
  const names = failed.map(({ name }) => printableName(name)).join(', ');
  return `${healthy ? 'is healthy, though not all is well' : 'is not healthy'}: ${names}`;
}

function renderChecks({ checks }: LastVerdict): string[] {
  return checks.flatMap(({ name, healthy, required, seconds, timedOut, output }) => {
    const remark = timedOut ? ', took too long' : required ? '' : ', wanted only';
    const head = `  ${healthy ? '✔' : '✘'} ${printableName(name)} (${formatSeconds(seconds)}${remark})`;
    const lines = healthy ? [] : output.split('\n').slice(-5).filter(Boolean);
    return [head, ...lines.map((line) => `      ${printableName(line)}`)];
  });
}

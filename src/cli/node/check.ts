/** `ingot node check`: the gate, run now or as the node starts. */
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import { runGate } from '../../node/gate/gate.ts';
import { type LastVerdict, writeVerdict } from '../../node/gate/last-verdict.ts';
import { tellJournal } from '../../node/gate/tell-journal.ts';
import { requireBooted } from '../../node/engine.ts';
import { run } from '../../proc/run.ts';
import { formatCount, formatSeconds } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { detectVirtArgv, isEmulated } from '../../tools/detect-virt.ts';
import { openNode, requireRoot, STATE_FOLDER } from './open-node.ts';

export const VERDICT_FILE = join(STATE_FOLDER, 'gate.json');

/** What limits are made for is a real processor. */
const EMULATION_FACTOR = 10;

export interface CheckOptions {
  readonly wait?: boolean;
}

/** An update may run meanwhile: nothing here touches what it does, and a start must not wait for it. */
export async function checkNode(context: CommandContext, options: CheckOptions): Promise<CommandResult> {
  const { engine, gpus } = await openNode(context);
  requireRoot();
  const { id, version } = requireBooted(await engine.deployments());
  const slowness = (await isEmulatedHere(context.signal)) ? EMULATION_FACTOR : 1;
  const verdict = await context.reporter.stage('Check the node', (stage) =>
    runGate({
      gpus,
      signal: context.signal,
      isStarting: options.wait,
      slowness,
      onCheck: (done, total, name) => {
        stage.progress(done, total, 'items', name);
      },
    }),
  );
  const at = context.now().toISOString();
  const last = await writeVerdict(VERDICT_FILE, verdict, { at, deployment: id });
  const untold = await tellJournal(last, context.signal);
  if (untold !== undefined) context.reporter.warning(`the journal was not told: ${untold}`);
  return {
    json: { ...last },
    text: [`${version ?? 'the node'} ${sentenceOf(last)}`, ...renderChecks(last)].join('\n'),
    exitCode: last.healthy ? 0 : 1,
  };
}

async function isEmulatedHere(signal: AbortSignal): Promise<boolean> {
  try {
    return isEmulated((await run(detectVirtArgv(), { signal, okExitCodes: [0, 1] })).stdout);
  } catch (error) {
    if (error instanceof IngotError && error.code === 'TOOL_MISSING') return false;
    throw error;
  }
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

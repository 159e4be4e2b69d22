/** `ingot node status`. */
import { readVerdict } from '../../node/gate/last-verdict.ts';
import { updatesIn } from '../../node/journal.ts';
import { type LastRestart, lastRestart } from '../../node/restart/restart.ts';
import { run } from '../../proc/run.ts';
import { formatCount, formatSeconds } from '../../report/format.ts';
import { parseFinishTime, systemctlFinishTimeArgv } from '../../tools/systemctl.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { loadBootState } from './bless.ts';
import { sentenceOf, VERDICT_FILE } from './check.ts';
import { followedOf, openNode } from './open-node.ts';
import { describeDeployments, renderBoot, renderDeployments, renderUpdates } from './render-node.ts';
import { describeUnattended, renderUnattended } from './unattended-upgrade.ts';

const SHOWN_UPDATES = 5;

export async function showStatus(context: CommandContext): Promise<CommandResult> {
  const { engine, journal, gpus } = await openNode(context);
  const deployments = await engine.deployments();
  const boot = engine.name === 'ostree' ? await loadBootState(deployments) : undefined;
  const { entries, damaged } = await journal.read();
  const bootId = deployments.find(({ isBooted }) => isBooted)?.bootId;
  const restart = lastRestart(entries, bootId, await lastStart(context));
  const described = describeDeployments(deployments);
  const follows = followedOf(deployments);
  const updates = updatesIn(entries).slice(0, SHOWN_UPDATES);
  const last = await readVerdict(VERDICT_FILE);
  // A soft reboot is none to the kernel: the verdict may be of what ran before.
  const gate = deployments.some(({ id, isBooted }) => isBooted && id === last?.deployment) ? last : undefined;
  const unattended = await describeUnattended(context);
  const one = (state: string): object => {
    const found = described.find((deployment) => deployment.state === state);
    return found === undefined ? {} : { [state]: found };
  };
  const staged = described.find(({ state }) => state === 'staged');
  return {
    json: {
      engine: engine.name,
      ...(follows !== undefined && { follows }),
      ...one('booted'),
      ...one('staged'),
      ...one('pending'),
      ...one('rollback'),
      deployments: described,
      ...(boot !== undefined && { boot }),
      gpus,
      ...(restart !== undefined && { restart }),
      ...(gate !== undefined && { gate }),
      ...(unattended !== undefined && { unattended }),
      updates,
      journal: { damaged },
    },
    text: [
      renderDeployments(described),
      ...(follows === undefined ? [] : ['', `follows ${follows}`]),
      ...(described.some(({ unlocked }) => unlocked)
        ? ['/usr can be written to until the next restart (`ingot node usr-overlay`)']
        : []),
      ...(staged === undefined
        ? []
        : [`${staged.version ?? 'the staged image'} runs after the next restart`]),
      ...(restart === undefined ? [] : [sentenceOfLastRestart(restart)]),
      ...(gate === undefined ? [] : [`the node ${sentenceOf(gate)}`]),
      ...(boot === undefined ? [] : renderBoot(boot)),
      ...(unattended === undefined ? [] : [renderUnattended(unattended, staged !== undefined)]),
      ...(updates.length === 0 ? [] : ['', renderUpdates(updates)]),
      ...(damaged === 0 ? [] : ['', `${formatCount(damaged, 'line')} of the journal cannot be read`]),
    ].join('\n'),
  };
}

/** In seconds since the epoch; undefined while the system is not started yet. */
async function lastStart({ signal }: CommandContext): Promise<number | undefined> {
  const { stdout } = await run(systemctlFinishTimeArgv(), { signal, okExitCodes: [0, 1] });
  return parseFinishTime(stdout);
}

function sentenceOfLastRestart({ kind, seconds }: LastRestart): string {
  const how = kind === 'soft' ? 'user space was restarted into it' : 'it was restarted into';
  return seconds === undefined ? how : `${how}, down for ${formatSeconds(seconds)}`;
}

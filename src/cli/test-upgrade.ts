/** `ingot test NEW --from OLD`: the way of a node from one image to the next. */
import { resolve } from 'node:path';

import { ensureTestDisk } from '../disk/test-disk.ts';
import { testUpgrade } from '../disk/upgrade/upgrade-test.ts';
import { IngotError } from '../errors.ts';
import { installableImage, type InstallableImage } from '../ostree/import-image.ts';
import { requireWritableFolder } from '../proc/writable-place.ts';
import type { CommandContext, CommandResult } from './context.ts';
import { isDisk } from './prepare-disk.ts';
import { prepareImage } from './prepare-image.ts';
import { renderUpgradeTest } from './render-upgrade-test.ts';
import type { TestOptions } from './commands/test.ts';
import { useStore } from './use-store.ts';

/** What `ingot build` calls the layer that brings the agent: its kind, and its name. */
const AGENT_LAYER = 'agent-';
const MIB = 1024 ** 2;

export async function testUpgradePath(
  context: CommandContext,
  argument: string,
  options: TestOptions & { readonly from: string },
): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  for (const subject of [options.from, argument]) {
    if (!(await isDisk(context, subject))) continue;
    throw new IngotError(
      'USAGE',
      `${subject} is a disk, and the way from one image to the next takes two images`,
      {
        hint: 'give images: oci:DIRECTORY[:NAME], or declarations',
      },
    );
  }
  const keep = options.keep === undefined ? undefined : resolve(cwd, options.keep);
  if (keep !== undefined) await requireWritableFolder(keep);
  await using inUse = await useStore(context);
  const { store } = inUse;
  const old = await prepareImage(context, store, options.from, options);
  const { image: to, toolsRoot } = await prepareImage(context, store, argument, options);
  const [from, next] = [installableImage(old.image), installableImage(to)];
  requireAgents(options.from, from, argument, next);
  const disk = await ensureTestDisk({ image: from, store, toolsRoot, reporter, signal });
  await using scratch = await store.scratch('upgrade-test');
  const result = await testUpgrade({
    disk,
    from,
    to,
    toVersion: next.version,
    toolsRoot,
    workFolder: keep ?? scratch.path,
    timeoutMs: options.timeout * 1000,
    memoryMiB: Math.ceil(options.memory / MIB),
    accelerator: options.accelerator,
    reporter,
    signal,
  });
  const told = ({ name, version, digest }: InstallableImage): object => ({ name, version, digest });
  return {
    json: {
      verdict: result.passed ? 'passed' : 'failed',
      ...(!result.passed && { code: 'HEALTH_FAILED' }),
      complaints: result.complaints,
      from: told(from),
      to: told(next),
      accelerator: result.accelerator,
      seconds: result.seconds,
      steps: result.steps,
      edits: result.edits,
      ...(result.pulled !== undefined && { pulled: result.pulled }),
      ...(result.pulledAgain !== undefined && { pulledAgain: result.pulledAgain }),
      ...(result.restart !== undefined && { restart: result.restart }),
      ...(result.defaults !== undefined && { defaults: result.defaults }),
      policySetAside: result.isPolicySetAside,
      ...(result.console !== '' && { console: result.console }),
    },
    text: renderUpgradeTest({ from, to: next }, result),
    exitCode: result.passed ? 0 : 1,
  };
}

/**
 * Of images that say which layers they are made of; others are asked when they run.
 *
 * @throws IngotError NODE_UNSUITED
 */
function requireAgents(from: string, old: InstallableImage, to: string, next: InstallableImage): void {
  const lacking = [
    ...(lacksAgent(old) ? [`${from} (${old.name} ${old.version}) cannot update itself`] : []),
    ...(lacksAgent(next) ? [`from ${to} (${next.name} ${next.version}) there is no way back`] : []),
  ];
  if (lacking.length === 0) return;
  throw new IngotError('NODE_UNSUITED', `without agent, ${lacking.join(', and ')}`, {
    hint: 'build it with `agent: true` in its declaration',
  });
}

function lacksAgent({ manifest }: InstallableImage): boolean {
  const names = manifest.layers.map(({ annotations }) => annotations?.['dev.ingot.layer']);
  return names.every((name) => name !== undefined) && !names.some((name) => name.startsWith(AGENT_LAYER));
}

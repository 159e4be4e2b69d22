/** `ingot node upgrade` and `switch`. */
import { IngotError } from '../../errors.ts';
import type { BoundPlan, OpenPlace } from '../../node/bound/bound-store.ts';
import type { Deployment } from '../../node/engine.ts';
import {
  chooseRestart,
  judgeRestart,
  type Restart,
  restartFor,
  restartInto,
  type SoftRebootChoice,
  softRebootObstacles,
} from '../../node/restart/restart.ts';
import {
  type FinishedUpdate,
  type NodeContext,
  type PreparedUpdate,
  prepareUpdate,
  runUpdate,
} from '../../node/update.ts';
import { stageDownloaded } from '../../node/stage-downloaded.ts';
import { runUnattended, withChannel } from '../../node/unattended.ts';
import { openSource, parseLocation } from '../../publish/location.ts';
import { formatBytes, formatCount } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { renderImageDifference } from '../diff/render-diff.ts';
import { openRegistries, type RegistryOptions } from '../registry-options.ts';
import { isRunningOnTrial, requireProven } from './on-trial.ts';
import { followedReference, lockNode, openNode, updateOfImage } from './open-node.ts';
import { previewUpdate } from './preview-update.ts';
import { describeDeployments } from './render-node.ts';
import { renderUnattendedResult, unattendedHost } from './unattended-upgrade.ts';

export interface UpgradeOptions extends RegistryOptions {
  readonly check?: true;
  readonly downloadOnly?: true;
  readonly apply?: true;
  readonly softReboot?: SoftRebootChoice;
  readonly exitCode?: true;
  readonly channel?: string;
  readonly fromDownloaded?: true;
  readonly unattended?: true;
  readonly allowDowngrade?: true;
  readonly force?: true;
}

export async function upgrade(context: CommandContext, options: UpgradeOptions): Promise<CommandResult> {
  if (options.exitCode === true && options.check !== true) {
    throw new IngotError('USAGE', '--exit-code belongs to --check');
  }
  requireApply(options);
  if (options.unattended === true) return upgradeUnattended(context, options);
  if (options.fromDownloaded === true) return upgradeFromDownloaded(context, options);
  const { engine } = await openNode(context);
  const followed = await followedReference(engine);
  if (options.channel !== undefined) return update(context, withChannel(followed, options.channel), options);
  return update(context, followed, { ...options, isImplied: true });
}

export async function switchImage(
  context: CommandContext,
  image: string,
  options: UpgradeOptions,
): Promise<CommandResult> {
  requireApply(options);
  const location = parseLocation(image, context.cwd);
  if (location.kind !== 'registry') {
    // Followed from wherever Ingot runs next.
    const prefix = location.kind === 'layout' ? 'oci' : 'oci-archive';
    const name = location.name === undefined ? '' : `:${location.name}`;
    return update(context, `${prefix}:${location.path}${name}`, options);
  }
  if (location.reference.digest !== undefined) {
    throw new IngotError('USAGE', `${image} names one image for good, and a node follows a name`, {
      hint: 'give a tag: HOST/PATH:TAG',
    });
  }
  return update(context, image, options);
}

function requireApply({ apply, softReboot }: UpgradeOptions): void {
  if (softReboot === undefined || apply === true) return;
  throw new IngotError('USAGE', '--soft-reboot belongs to --apply');
}

async function update(
  context: CommandContext,
  reference: string,
  options: UpgradeOptions & { readonly isImplied?: true },
): Promise<CommandResult> {
  const location = parseLocation(reference, '/');
  const node = await openNode(context);
  const request = { ...options, reference, location };
  await using registries = await openRegistries(context, options);
  const openPlace: OpenPlace = (place) => registries.source(place);
  if (options.check === true) {
    await using source = await openSource(location, registries);
    const prepared = await prepareUpdate(node, { ...request, source, openPlace });
    return await renderCheck(context, node, prepared, options, async () =>
      previewUpdate(context, source, location.kind !== 'registry', prepared),
    );
  }
  await using _lock = await lockNode(context);
  if (options.downloadOnly !== true && options.force !== true) await requireProven(node);
  await using source = await openSource(location, registries);
  const finished = await runUpdate(node, {
    ...request,
    source,
    openPlace,
    isDownloadOnly: options.downloadOnly,
  });
  if (finished.done === 'downloaded' || finished.state === 'current') return renderFinished(finished);
  return await finish(node, finished, options);
}

/** `ingot node upgrade --from-downloaded`. */
async function upgradeFromDownloaded(
  context: CommandContext,
  options: UpgradeOptions,
): Promise<CommandResult> {
  const node = await openNode(context);
  await using _lock = await lockNode(context);
  if (options.force !== true) await requireProven(node);
  return await finish(node, await stageDownloaded(node, options), options);
}

/** What is staged is told, or started. */
async function finish(
  node: NodeContext,
  finished: FinishedUpdate,
  options: UpgradeOptions,
): Promise<CommandResult> {
  const target = await deploymentOf(node, finished);
  const restart = await judgeRestart(node, target);
  if (options.apply !== true) return renderFinished(finished, restart);
  const chosen = chooseRestart(restart, options.softReboot ?? 'auto');
  const kind = await restartInto(node, target, chosen, options.softReboot !== 'required');
  return renderFinished(finished, { ...chosen, kind }, true);
}

/** `ingot node upgrade --unattended`. */
async function upgradeUnattended(context: CommandContext, options: UpgradeOptions): Promise<CommandResult> {
  const settings = (await updateOfImage())?.unattended;
  const node = await openNode(context);
  if (settings === undefined) {
    throw new IngotError('NODE_UNSUITED', 'the running image does not say that it updates by itself', {
      hint: 'its declaration would, in `update.unattended`: a window at least',
    });
  }
  const followed = await followedReference(node.engine);
  const reference = settings.channel === undefined ? followed : withChannel(followed, settings.channel);
  const location = parseLocation(reference, '/');
  await using registries = await openRegistries(context, options);
  await using source = await openSource(location, registries);
  const result = await runUnattended(
    node,
    settings,
    {
      ...{ ...options, reference, location, source, isImplied: true },
      openPlace: (place) => registries.source(place),
    },
    {
      ...unattendedHost(context),
      isOnTrial: () => isRunningOnTrial(node),
      restart: async () => {
        const [target] = await node.engine.deployments();
        if (target === undefined) throw new IngotError('NODE_FAILED', 'there is no deployment to start');
        await restartInto(node, target, await judgeRestart(node, target), true);
      },
    },
  );
  return renderUnattendedResult(result);
}

/** The one that starts next: just staged, or found so. */
async function deploymentOf({ engine }: NodeContext, { deployment }: FinishedUpdate): Promise<Deployment> {
  const target = deployment ?? (await engine.deployments())[0];
  if (target === undefined) throw new IngotError('NODE_FAILED', 'there is no deployment to start');
  return target;
}

async function renderCheck(
  { palette }: CommandContext,
  { engine }: NodeContext,
  prepared: PreparedUpdate,
  options: UpgradeOptions,
  preview: () => ReturnType<typeof previewUpdate>,
): Promise<CommandResult> {
  const { image, booted, trust, plan, bound, state } = prepared;
  const difference = booted.digest === image.digest ? undefined : await preview();
  const restart =
    difference === undefined ? undefined : restartFor(difference.reboot, await softRebootObstacles(engine));
  const { missing, bytes, deltas, neededBytes, freeBytes } = plan;
  const withoutBytes = missing.reduce((sum, { size }) => sum + size, 0);
  const byDeltas =
    deltas.length === 0
      ? ''
      : `, by ${formatCount(deltas.length, 'delta')} instead of ${formatBytes(withoutBytes)}`;
  const isTight = bound.room.find((disk) => disk.neededBytes > disk.freeBytes);
  const hasRoom = neededBytes <= freeBytes && isTight === undefined;
  return {
    json: {
      ...jsonOf(prepared),
      trust,
      pull: {
        ...{ bytes, layers: missing.length, deltas: deltas.length, withoutBytes },
        ...{ neededBytes, freeBytes, hasRoom },
      },
      bound: describeBound(bound),
      ...(difference !== undefined && { difference }),
      ...(restart !== undefined && { restart }),
    },
    text: [
      ...(difference === undefined ? [] : [renderImageDifference(difference, palette)]),
      state === 'available'
        ? `${image.version} is there: ${formatBytes(bytes)} to pull in ${formatCount(missing.length, 'layer')}${byDeltas}`
        : sentenceOf(prepared),
      ...(restart === undefined ? [] : [sentenceOfRestart(restart)]),
      ...(bound.bytes === 0
        ? []
        : [`${formatBytes(bound.bytes)} to pull of its containers and models: ${namesOfMissing(bound)}`]),
      ...[{ neededBytes, freeBytes }, isTight].flatMap((disk) =>
        disk === undefined || disk.neededBytes <= disk.freeBytes
          ? []
          : [
              `importing it takes up to ${formatBytes(disk.neededBytes)}, and ${formatBytes(disk.freeBytes)} are free`,
            ],
      ),
    ].join('\n'),
    exitCode: options.exitCode === true && state === 'available' ? 1 : 0,
  };
}

function renderFinished(finished: FinishedUpdate, restart?: Restart, isRestarting = false): CommandResult {
  const { image, done, deployment, plan, bound, seconds, trust } = finished;
  const staged = deployment === undefined ? [] : describeDeployments([deployment]);
  return {
    json: {
      ...jsonOf(finished),
      trust,
      done,
      pulled: { bytes: plan.bytes, layers: plan.missing.length, deltas: plan.deltas.length },
      bound: describeBound(bound),
      seconds,
      ...(staged[0] !== undefined && { staged: staged[0] }),
      ...(restart !== undefined && { restart }),
      restarting: isRestarting,
    },
    text:
      done === 'staged' && restart !== undefined
        ? `${image.version} ${isRestarting ? `is staged: ${goingDown(restart)}` : `runs after the next restart; ${sentenceOfRestart(restart)}`}`
        : done === 'downloaded'
          ? `${image.version} is downloaded: \`ingot node upgrade\` stages it`
          : `${sentenceOf(finished)}${isRestarting && restart !== undefined ? `: ${goingDown(restart)}` : ''}`,
  };
}

function sentenceOfRestart({ kind, reasons }: Restart): string {
  if (kind !== 'full') return 'restarting user space alone does';
  return `it takes a full restart${reasons.length === 0 ? '' : `: ${reasons.map(printableName).join('; ')}`}`;
}

function goingDown({ kind }: Restart): string {
  return kind === 'soft' ? 'restarting user space' : 'restarting';
}

/** As it was before anything was pulled. */
function describeBound({ bytes, items }: BoundPlan): Readonly<Record<string, unknown>> {
  return {
    bytes,
    missing: items.filter(({ isPresent }) => !isPresent).map(({ kind, name }) => ({ kind, name })),
  };
}

function namesOfMissing({ items }: BoundPlan): string {
  return items.flatMap(({ name, isPresent }) => (isPresent ? [] : [name])).join(', ');
}

function jsonOf({ image, booted, state }: PreparedUpdate): Readonly<Record<string, unknown>> {
  const { reference, digest, version } = image;
  return {
    reference,
    state,
    offered: { digest, version },
    running: {
      ...(booted.digest !== undefined && { digest: booted.digest }),
      ...(booted.version !== undefined && { version: booted.version }),
    },
  };
}

function sentenceOf({ image, state }: PreparedUpdate): string {
  return state === 'staged' ? `${image.version} is staged already` : `${image.version} runs already`;
}

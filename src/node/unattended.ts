/**
 * An update that nobody is there for: downloaded ahead, staged and started in the window that the image says, when
 * nothing on the node is in the way. Run by a timer; every run ends with an answer, and the next goes on from there.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { IngotError } from '../errors.ts';
import { parseLocation } from '../publish/location.ts';
import type { UnattendedUpdates } from '../spec/update-schema.ts';
import { windowsOf, windowState, type WindowState } from '../spec/update-window.ts';
import { type Deployment, requireBooted } from './engine.ts';
import { type Inhibitor, renderInhibitors } from './inhibitors.ts';
import {
  type FinishedUpdate,
  type NodeContext,
  prepareUpdate,
  runUpdate,
  type UpdateOptions,
} from './update.ts';

export interface UnattendedHost {
  readonly now: () => Date;
  /** As IANA names it. */
  readonly timeZone: string;
  readonly inhibitors: () => Promise<readonly Inhibitor[]>;
  /** Nobody knows yet whether the running system is good. */
  readonly isOnTrial: () => Promise<boolean>;
  /** Held while the system is changed, and not while something is waited for. */
  readonly lock: () => Promise<AsyncDisposable>;
  readonly restart: () => Promise<void>;
  /** Between two looks at what is in the way. */
  readonly pollMs: number;
}

export interface UnattendedResult {
  /**
   * `closed`: nothing is done outside of the window; `current`: nothing is there to do; `downloaded` and `staged`: as
   * far as it goes now; `waiting`: the window closed, and something was in the way; `restarting`.
   */
  readonly outcome: 'closed' | 'current' | 'downloaded' | 'staged' | 'waiting' | 'restarting';
  readonly window: WindowState;
  /** What it waited for last. */
  readonly inhibitors: readonly Inhibitor[];
  readonly update: FinishedUpdate | undefined;
}

/** @throws IngotError as `runUpdate`, NODE_BUSY */
export async function runUnattended(
  node: NodeContext,
  settings: UnattendedUpdates,
  request: UpdateOptions,
  host: UnattendedHost,
): Promise<UnattendedResult> {
  const windows = windowsOf(settings);
  const state = (): WindowState => windowState(windows, host.now(), host.timeZone);
  const answer = (
    outcome: UnattendedResult['outcome'],
    update?: FinishedUpdate,
    inhibitors: readonly Inhibitor[] = [],
  ): UnattendedResult => ({ outcome, window: state(), inhibitors, update });

  const early = await tooEarly(node, host);
  if (early !== undefined) {
    await tellWaiting(node, request, [early]);
    return answer('waiting', undefined, [early]);
  }
  if (!state().isOpen && settings.download === 'window') return answer('closed');
  const ahead = await lookAhead(node, request, host);
  if (ahead.state === 'current') return answer('current', ahead);
  if (!state().isOpen)
    return answer(
      ahead.state === 'staged' ? 'staged' : ahead.done === 'nothing' ? 'closed' : 'downloaded',
      ahead,
    );
  const staged = await locked(host, () => runUpdate(node, { ...request, isUnattended: true }));
  if (settings.apply === 'stage') return answer('staged', staged);
  let told = '';
  for (;;) {
    const inhibitors = await host.inhibitors();
    if (!state().isOpen) return answer('waiting', staged, inhibitors);
    if (inhibitors.length === 0) break;
    const reason = renderInhibitors(inhibitors);
    if (reason !== told) await tellWaiting(node, request, inhibitors, staged);
    told = reason;
    await pause(host.pollMs, node.signal);
  }
  await host.restart();
  return answer('restarting', staged);
}

/** What is new, downloaded where the engine can; one that pulls only as it stages does so in the window. */
async function lookAhead(
  node: NodeContext,
  request: UpdateOptions,
  host: UnattendedHost,
): Promise<FinishedUpdate> {
  try {
    return await locked(host, () =>
      runUpdate(node, { ...request, isDownloadOnly: true, isUnattended: true }),
    );
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'NODE_UNSUITED') throw error;
    const prepared = await prepareUpdate(node, request);
    return { ...prepared, done: 'nothing', seconds: 0, deployment: undefined };
  }
}

async function locked<T>(host: UnattendedHost, work: () => Promise<T>): Promise<T> {
  await using _lock = await host.lock();
  return await work();
}

/** What no waiting helps against here: the next run is to find it gone. */
async function tooEarly({ engine }: NodeContext, host: UnattendedHost): Promise<Inhibitor | undefined> {
  const booted = requireBooted(await engine.deployments());
  if (!(await host.isOnTrial())) return judgeClock(booted, host.now());
  // Staging would push out what the node goes back to when it is not.
  return {
    kind: 'trial',
    who: booted.version ?? 'the running system',
    why: 'it has not passed its checks yet',
  };
}

/** No window means anything by a clock that is wrong; one that has lost its battery begins long ago. */
function judgeClock({ created }: Pick<Deployment, 'created'>, now: Date): Inhibitor | undefined {
  if (created === undefined || now.getTime() >= created * 1000) return undefined;
  const day = (at: Date): string => at.toISOString().slice(0, 10);
  return {
    kind: 'clock',
    who: 'the clock of this node',
    why: `it says ${day(now)}, and the running image is of ${day(new Date(created * 1000))}`,
  };
}

async function tellWaiting(
  { journal }: NodeContext,
  { reference }: UpdateOptions,
  inhibitors: readonly Inhibitor[],
  update?: FinishedUpdate,
): Promise<void> {
  const reason = renderInhibitors(inhibitors);
  const last = (await journal.read()).entries.at(-1);
  if (last?.event === 'waiting' && last.reason === reason) return;
  await journal.append({
    update: randomUUID(),
    event: 'waiting',
    reference,
    ...(update !== undefined && { digest: update.image.digest, version: update.image.version }),
    reason,
  });
}

/** The same place by another tag, or another name in a layout. @throws IngotError USAGE */
export function withChannel(reference: string, channel: string): string {
  const location = parseLocation(reference, '/');
  switch (location.kind) {
    case 'registry':
      return `${location.reference.registry}/${location.reference.repository}:${channel}`;
    case 'layout':
      return `oci:${location.path}:${channel}`;
    case 'archive':
      return `oci-archive:${location.path}:${channel}`;
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throw new IngotError('INTERRUPTED', 'interrupted while something was in the way of the update', {
      cause,
    });
  }
}

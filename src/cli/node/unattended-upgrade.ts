/** `ingot node upgrade --unattended`: what of the machine it asks, and how it tells what came of it. */
import { findInhibitors, type Inhibitor, renderInhibitors } from '../../node/inhibitors.ts';
import type { UnattendedHost, UnattendedResult } from '../../node/unattended.ts';
import { printableName } from '../../report/printable.ts';
import type { UnattendedUpdates } from '../../spec/update-schema.ts';
import { windowsOf, windowState } from '../../spec/update-window.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { lockNode, updateOfImage } from './open-node.ts';

const POLL_MS = 15_000;

export function unattendedHost(context: CommandContext): Omit<UnattendedHost, 'restart' | 'isOnTrial'> {
  const { now, signal } = context;
  return {
    now,
    timeZone: timeZoneHere(),
    inhibitors: () => findInhibitors({ signal }),
    lock: () => lockNode(context),
    pollMs: POLL_MS,
  };
}

export interface DescribedUnattended extends UnattendedUpdates {
  readonly open: boolean;
  /** When the window opens or closes, ISO 8601; left out for one that never does. */
  readonly changesAt?: string;
  readonly timeZone: string;
  /** What holds a restart up now. */
  readonly inhibitors: readonly Inhibitor[];
}

/** As the running image says, and as things stand; undefined where somebody updates. */
export async function describeUnattended({
  now,
  signal,
}: CommandContext): Promise<DescribedUnattended | undefined> {
  const settings = (await updateOfImage())?.unattended;
  if (settings === undefined) return undefined;
  const timeZone = timeZoneHere();
  const { isOpen, changesAt } = windowState(windowsOf(settings), now(), timeZone);
  return {
    ...settings,
    open: isOpen,
    ...(changesAt !== undefined && { changesAt: changesAt.toISOString() }),
    timeZone,
    inhibitors: await findInhibitors({ signal }),
  };
}

/** @param isWaiting an update is there that a restart would start */
export function renderUnattended(
  { window, open, changesAt, timeZone, inhibitors }: DescribedUnattended,
  isWaiting: boolean,
): string {
  const when = changesAt === undefined ? '' : ` ${open ? 'until' : 'from'} ${localTime(changesAt, timeZone)}`;
  const state = open ? `its window is open${when}` : `its window is closed, and opens${when}`;
  const waits = inhibitors.length === 0 ? '' : `; a restart waits for ${renderInhibitors(inhibitors)}`;
  const what = isWaiting ? 'the update is started by itself' : 'updates by itself';
  return printableName(`${what} (${window.join('; ')}): ${state}${waits}`);
}

export function renderUnattendedResult({
  outcome,
  window,
  inhibitors,
  update,
}: UnattendedResult): CommandResult {
  const { isOpen, changesAt } = window;
  const version = update?.image.version ?? 'the update';
  const at = changesAt === undefined ? 'never' : localTime(changesAt.toISOString(), timeZoneHere());
  const sentences: Readonly<Record<UnattendedResult['outcome'], string>> = {
    closed: `the window is closed until ${at}`,
    current: `${version} runs already`,
    downloaded: `${version} is downloaded; the window opens ${at}`,
    staged: `${version} is staged, and runs after the next restart`,
    waiting: `${version} waits for ${renderInhibitors(inhibitors)}`,
    restarting: `${version} is staged: restarting`,
  };
  return {
    json: {
      outcome,
      window: { open: isOpen, ...(changesAt !== undefined && { changesAt: changesAt.toISOString() }) },
      inhibitors,
      ...(update !== undefined && {
        reference: update.image.reference,
        offered: { digest: update.image.digest, version: update.image.version },
      }),
    },
    text: printableName(sentences[outcome]),
  };
}

/** As IANA names it. */
function timeZoneHere(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

function localTime(at: string, timeZone: string): string {
  return new Date(at).toLocaleString('en-GB', { timeZone, dateStyle: 'medium', timeStyle: 'short' });
}

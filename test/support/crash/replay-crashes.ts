/** Judges a recorded disk at many points of its log, and says what came of it. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../../../src/proc/run.ts';
import type { ToolsRoot } from '../../../src/tools/tools-root.ts';
import { CrashImage } from './crash-image.ts';
import { chooseCrashPoints, type CrashPoint, seededRandom } from './crash-points.ts';
import { DiskJudge } from './judge-disk.ts';
import type { Mark, Recording } from './record-update.ts';

export interface ReplayOptions {
  readonly recording: Recording;
  readonly toolsRoot: ToolsRoot;
  /** Empty; room for two copies of the disk. */
  readonly folder: string;
  /** How many, or just these, ordered as `chooseCrashPoints` does. */
  readonly points: number | readonly CrashPoint[];
  readonly seed: number;
  /** How many of the points have every object of their repository read. */
  readonly wholeReads: number;
  readonly onPoint?: (done: number, outcome: ReplayOutcome) => void;
}

export interface ReplayOutcome {
  readonly phase: string;
  readonly point: CrashPoint;
  /** The systems of the menu that GRUB reads, first entry first. */
  readonly menu: readonly string[];
  /** What GRUB starts, when nothing of it is ever called good. */
  readonly starts: readonly string[];
  readonly complaints: readonly string[];
  /** File systems whose superblock the node takes from its copy, by their partitions. */
  readonly mended: readonly string[];
}

export interface Replay {
  readonly outcomes: readonly ReplayOutcome[];
  readonly wholeReads: number;
  readonly entries: number;
  readonly flushes: number;
}

export async function replayCrashes(options: ReplayOptions): Promise<Replay> {
  const { recording, toolsRoot, folder, seed, onPoint } = options;
  const { before, settled, names, log, partitions, marks } = recording;
  await mkdir(folder, { recursive: true });
  await using judge = await DiskJudge.open(join(folder, 'mounts'), partitions, toolsRoot);
  // Looking at a disk writes to it, and all that follows begins with this one.
  for (const [disk, name] of [
    [before, 'old'] as const,
    ...settled.map((one, at) => [one, names[at]] as const),
  ]) {
    await run(['cp', '--sparse=auto', disk, join(judge.disks, 'known.raw')]);
    await judge.learn('known.raw', name ?? 'another');
  }
  await rm(join(judge.disks, 'known.raw'));
  await using image = await CrashImage.open(before, log, judge.disks);
  const random = seededRandom(seed);
  const range = { from: marks[0]?.at ?? 0, to: marks.at(-1)?.at ?? 0 };
  const points =
    typeof options.points === 'number'
      ? chooseCrashPoints(image.entries, { ...range, count: options.points }, random)
      : options.points;
  const outcomes: ReplayOutcome[] = [];
  for (const point of points) {
    await image.rebuild(point);
    const judgement = await judge.judge('point.raw', {
      bootKey: image.keyOf(point, partitions.boot),
      rootKey: image.keyOf(point, partitions.root),
      readsAll: random() < options.wholeReads / points.length,
    });
    const outcome = { phase: phaseOf(marks, point.at), point, ...judgement };
    outcomes.push(outcome);
    onPoint?.(outcomes.length, outcome);
  }
  return {
    outcomes,
    wholeReads: judge.wholeReads,
    entries: image.entries.length,
    flushes: image.entries.filter(({ isFlush }) => isFlush).length,
  };
}

function phaseOf(marks: readonly Mark[], at: number): string {
  return marks.findLast((mark) => mark.at <= at)?.phase ?? 'before';
}

/** Phase × menu, with how often the rest of the unflushed writes was kept and lost. */
export function renderReplay({ outcomes, wholeReads, entries, flushes }: Replay, seed: number): string {
  const rows = new Map<string, { kept: number; lost: number; bad: number }>();
  for (const { phase, menu, starts, complaints, point } of outcomes) {
    const key = `${phase.padEnd(12)}  ${menu.join(', ').padEnd(16)}  ${starts.join(' ').padEnd(24)}`;
    const row = rows.get(key) ?? { kept: 0, lost: 0, bad: 0 };
    if (point.lost.size > 0) row.lost++;
    else row.kept++;
    if (complaints.length > 0) row.bad++;
    rows.set(key, row);
  }
  return [
    `${outcomes.length} crash points of ${entries} writes and flushes (${flushes}), seed ${seed}; every object read at ${wholeReads}`,
    `${'PHASE'.padEnd(12)}  ${'MENU'.padEnd(16)}  ${'GRUB STARTS'.padEnd(24)}  KEPT  LOST   BAD`,
    ...[...rows].map(([key, { kept, lost, bad }]) =>
      [key, ...[kept, lost, bad].map((count) => String(count).padStart(4))].join('  '),
    ),
  ].join('\n');
}

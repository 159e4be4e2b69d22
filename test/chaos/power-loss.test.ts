/**
 * Power loss at any moment of an update, with real machines. `npm run test:chaos`; docs/node.md has what it is about.
 *
 * - One update is recorded, every write and flush of it, and its disk judged as it would be at CHAOS_POINTS moments.
 * - CHAOS_TRIALS machines lose their power at a moment of an update, and are switched on again: each must come back by
 *   itself, in the old or the new system, whole, and take the next update.
 *
 * CHAOS_SEED repeats a run. CHAOS_FOLDER keeps the machines that trials start from, for the next run. CHAOS_JOBS
 * machines run at a time, by default one for each processor.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { TEST_FOLDER } from '../support/built-image.ts';
import { seededRandom } from '../support/crash/crash-points.ts';
import { type RecordedMachine, recordMachine } from '../support/crash/record-machine.ts';
import { renderReplay, replayCrashes } from '../support/crash/replay-crashes.ts';
import { chooseMoments, renderTrials, runTrial, type TrialOutcome } from '../support/crash/trials.ts';
import { VmLab } from '../support/crash/vm-lab.ts';

const TRIALS = Number(process.env['CHAOS_TRIALS'] ?? 100);
const POINTS = Number(process.env['CHAOS_POINTS'] ?? 500);
const SEED = Number(process.env['CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const JOBS = Number(process.env['CHAOS_JOBS'] ?? availableParallelism());
/** A run of hours tells how it stands. */
const TABLE_EVERY = 10;
const kept = process.env['CHAOS_FOLDER'];

let folder: string;
let lab: VmLab;
/** Shows when each phase of an update begins. */
let recorded: RecordedMachine;

beforeAll(async () => {
  console.log(`CHAOS_SEED=${SEED}: ${POINTS} crash points, ${TRIALS} power losses`);
  await mkdir(TEST_FOLDER, { recursive: true });
  folder = kept ?? (await mkdtemp(join(TEST_FOLDER, 'chaos-')));
  lab = await VmLab.open(folder);
  await lab.prepare();
});

afterAll(async () => {
  await lab[Symbol.asyncDispose]();
  if (kept === undefined) await rm(folder, { recursive: true, force: true });
});

test('the disk is good at every write of an update', async () => {
  recorded = await recordMachine(lab, join(folder, 'recording'));
  const replay = await replayCrashes({
    recording: recorded.recording,
    toolsRoot: lab.toolsRoot,
    folder: join(folder, 'replay'),
    points: POINTS,
    seed: SEED,
    wholeReads: POINTS / 10,
  });
  console.log(renderReplay(replay, SEED));
  expect(replay.outcomes.filter(({ complaints }) => complaints.length > 0)).toEqual([]);
  expect(
    replay.outcomes.filter(({ starts }) => starts.some((name) => !['old', 'new'].includes(name))),
  ).toEqual([]);
});

test('a machine that loses its power comes back', async () => {
  const outcomes: TrialOutcome[] = [];
  const limit = pLimit(JOBS);
  const moments = chooseMoments(recorded, TRIALS, seededRandom(SEED));
  await limit.map(moments, async (moment, index) => {
    const outcome = await runTrial(lab, `${index}`, moment);
    outcomes.push(outcome);
    console.log(`${outcomes.length}/${TRIALS} at ${moment.toFixed(1)} s: ${JSON.stringify(outcome)}`);
    if (outcomes.length % TABLE_EVERY === 0 || outcomes.length === TRIALS) {
      console.log(renderTrials(outcomes, SEED));
    }
  });
  expect(outcomes.filter(({ complaint }) => complaint !== undefined)).toEqual([]);
});

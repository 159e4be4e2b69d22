/**
 * Power loss at any moment of an update, with real machines. `npm run test:chaos`; docs/node.md has what it is about.
 *
 * - One update is recorded, every write and flush of it, and its disk judged as it would be at CHAOS_POINTS moments.
 * - CHAOS_TRIALS machines lose their power at a moment of an update, and are switched on again: each must come back by
 *   itself, in the old or the new system, whole, and take the next update.
 *
 * CHAOS_SEED repeats a run. CHAOS_FOLDER keeps the machines that trials start from, for the next run, and what came of
 * each trial: the same seed, with as many trials and points, goes on where a run was ended. CHAOS_JOBS machines run at a
 * time, by default one for each processor.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { TEST_FOLDER } from '../support/built-image.ts';
import { ChaosRun } from '../support/crash/chaos-run.ts';
import { recordMachine } from '../support/crash/record-machine.ts';
import { renderReplay, replayCrashes } from '../support/crash/replay-crashes.ts';
import { renderTrials, runTrial } from '../support/crash/trials.ts';
import { VmLab } from '../support/crash/vm-lab.ts';

const TRIALS = Number(process.env['CHAOS_TRIALS'] ?? 100);
const POINTS = Number(process.env['CHAOS_POINTS'] ?? 500);
const SEED = Number(process.env['CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const JOBS = Number(process.env['CHAOS_JOBS'] ?? availableParallelism());
/** A run of hours tells how it stands. */
const TABLE_EVERY = 10;
/** Of so many machines one takes the next update itself. Power is lost in one phase after the other: a prime meets all. */
const MACHINE_EVERY = 11;
const choices = { seed: SEED, trials: TRIALS, points: POINTS };
const kept = process.env['CHAOS_FOLDER'];

let folder: string;
let lab: VmLab;
let chaos: ChaosRun | undefined;

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
  chaos = await ChaosRun.find(folder, choices);
  if (chaos !== undefined) {
    console.log(`${chaos.replay}\n${chaos.outcomes.length} of ${TRIALS} power losses are done`);
    return;
  }
  const { recording, beginnings, end } = await recordMachine(lab, join(folder, 'recording'));
  const replay = await replayCrashes({
    recording,
    toolsRoot: lab.toolsRoot,
    folder: join(folder, 'replay'),
    points: POINTS,
    seed: SEED,
    wholeReads: POINTS / 10,
  });
  const table = renderReplay(replay, SEED);
  console.log(table);
  expect(replay.outcomes.filter(({ complaints }) => complaints.length > 0)).toEqual([]);
  expect(
    replay.outcomes.filter(({ starts }) => starts.some((name) => !['old', 'new'].includes(name))),
  ).toEqual([]);
  chaos = await ChaosRun.begin(folder, choices, { beginnings, end }, table);
});

test('a machine that loses its power comes back', async () => {
  const run = chaos ?? expect.fail('there is no recording');
  const limit = pLimit(JOBS);
  await limit.map(run.moments, async (moment, index) => {
    if (run.has(index)) return;
    const next = index % MACHINE_EVERY === 0 ? 'machine' : 'disk';
    const outcome = await runTrial(lab, `${index}`, moment, next);
    await run.add(index, outcome);
    const { outcomes } = run;
    console.log(`${outcomes.length}/${TRIALS} at ${moment.toFixed(1)} s: ${JSON.stringify(outcome)}`);
    if (outcomes.length % TABLE_EVERY === 0) console.log(renderTrials(outcomes, SEED));
  });
  console.log(renderTrials(run.outcomes, SEED));
  expect(run.outcomes.filter(({ complaint }) => complaint !== undefined)).toEqual([]);
});

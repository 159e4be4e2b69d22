/**
 * `kill -9` at any moment: the next build is right, and nothing of the killed one is left. On layers over the shared
 * base, without a seal, so that the moments cover a store opened, packages checked, trees made, layers packed, trees
 * synced and a layout written: each phase in turn, somewhere in it.
 *
 * INGOT_TEST_KILLS sets how many are killed; where in a phase follows from their number, so that a failure can be
 * repeated.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { hexOf } from '../../src/digest.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { Store } from '../../src/store/store.ts';
import { verifyStore } from '../../src/store/verify.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { splitLines } from '../../src/proc/run.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { linkBase, smallPlan } from '../support/small-plan.ts';
import { storeWithPackages } from '../support/thin-store.ts';

const KILLS = Number(process.env['INGOT_TEST_KILLS'] ?? 10);

let image: BuiltImage;
let folder: string;
let store: Store;
let plan: Plan;
let planFile: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/kills-'));
  storeWithPackages(image, join(folder, 'store'));
  store = await Store.open(join(folder, 'store'));
  plan = await smallPlan(image, store, { one: [], two: [] });
  planFile = join(folder, 'plan.json');
  writeFileSync(planFile, JSON.stringify(plan));
  linkBase(plan, image.store, store);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  /** Undefined for a build that did not get there. */
  readonly digest: string | undefined;
  /** The last one that began. */
  readonly phase: string;
  /** How long each took, in milliseconds, in their order. */
  readonly phases: ReadonlyMap<string, number>;
}

/** @param kill where to end it: so many milliseconds after this phase has begun */
function build(kill?: { readonly phase: string; readonly afterMs: number }): Promise<Ended> {
  const program = join(PRODUCT_ROOT, 'test/support/build-plan.ts');
  const child = spawn(process.execPath, [program, planFile, store.root, join(folder, 'layout')], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  const begun: { readonly phase: string; readonly at: number }[] = [];
  let digest: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  splitLines(child.stdout, (line) => {
    const [word = '', rest = ''] = line.split(/ (.*)/);
    if (word === 'built') digest = rest;
    else begun.push({ phase: rest, at: performance.now() });
    if (word !== 'phase' || rest !== kill?.phase) return;
    timer = setTimeout(() => child.kill('SIGKILL'), kill.afterMs);
  });
  return new Promise((resolve, reject) => {
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code !== 0 && !(kill !== undefined && signal === 'SIGKILL')) {
        reject(new Error(Buffer.concat(errors).toString()));
      }
      begun.push({ phase: '', at: performance.now() });
      const phases = new Map(
        begun.slice(0, -1).map(({ phase, at }, index) => [phase, (begun[index + 1]?.at ?? at) - at]),
      );
      resolve({ digest, phase: begun.at(-2)?.phase ?? '', phases });
    });
  });
}

/** What still runs or is mounted with the store's path in its name. */
function left(): string[] {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(store.root.replaceAll(' ', '\\040')));
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return pid !== String(process.pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(store.root);
    } catch {
      return false;
    }
  });
  return [...mounts, ...processes];
}

async function untilNothingIsLeft(): Promise<void> {
  const until = Date.now() + 30_000;
  while (left().length > 0) {
    if (Date.now() > until) throw new Error(`still there: ${left().join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Forgets the layers, so that the next build makes them. */
function forgetLayers(): void {
  for (const { key, treeKey } of plan.steps.slice(1)) {
    const hex = hexOf(key);
    const record = store.path('records/layers', `${hex}.json`);
    if (existsSync(record)) {
      for (const [, blob] of readFileSync(record, 'utf8').matchAll(/"digest": "sha256:([0-9a-f]{64})"/g)) {
        rmSync(store.blobPath(blob ?? ''), { force: true });
        rmSync(store.path('records/blobs', `${blob ?? ''}.json`), { force: true });
      }
    }
    rmSync(record, { force: true });
    rmSync(store.path('trees', hexOf(treeKey)), { recursive: true, force: true });
  }
  rmSync(join(folder, 'layout'), { recursive: true, force: true });
}

/** From 0 to 1, and the same for the same number. */
function moment(number: number): number {
  return createHash('sha256').update(`moment ${number}`).digest().readUInt32BE() / 2 ** 32;
}

test(
  `${KILLS} builds killed anywhere, each followed by one that is right`,
  async () => {
    let whole = await build();
    const { digest } = whole;
    expect(digest).toMatch(/^sha256:/);
    const phases = [...whole.phases.keys()];
    const hit = new Map(phases.map((phase) => [phase, 0]));
    for (let number = 0; number < KILLS; number += 1) {
      forgetLayers();
      const phase = phases[number % phases.length] ?? '';
      // How long a phase takes changes with what else the machine does.
      const afterMs = moment(number) * (whole.phases.get(phase) ?? 0);
      const killed = await build({ phase, afterMs });
      await untilNothingIsLeft();
      if (killed.digest === undefined) hit.set(killed.phase, (hit.get(killed.phase) ?? 0) + 1);
      const what = `kill ${number}, ${Math.round(afterMs)} ms into "${phase}"`;
      whole = await build();
      expect([what, whole.digest]).toEqual([what, digest]);
      expect([what, left()]).toEqual([what, []]);
      expect([what, readdirSync(store.path('tmp'))]).toEqual([what, []]);
      expect([what, readdirSync(folder).sort()]).toEqual([what, ['layout', 'plan.json', 'store']]);
      const { problems } = await verifyStore(store, { trees: number % 10 === 9 });
      expect([what, problems]).toEqual([what, []]);
      await verifyLayout(join(folder, 'layout'));
    }
    const table = phases.map((phase) => `${phase} ${hit.get(phase) ?? 0}`).join(', ');
    process.stderr.write(`builds killed while they ran, by phase: ${table}\n`);
    const running = [...hit.values()].reduce((sum, count) => sum + count, 0);
    // A phase may end sooner than it did in the build before; that nearly all were hit shows that something was tried.
    expect(running, table).toBeGreaterThanOrEqual(Math.floor(KILLS * 0.9));
    if (KILLS >= 5 * phases.length)
      expect(
        [...hit.values()].every((count) => count > 0),
        table,
      ).toBe(true);
  },
  Math.max(600, KILLS * 60) * 1000,
);

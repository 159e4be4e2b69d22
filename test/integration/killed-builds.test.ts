/**
 * `kill -9` at any moment: the next build is right, and nothing of the killed one is left. Most are of small layers over
 * the shared base, where the moments cover a store opened, packages checked, trees made, layers packed, trees synced and
 * a layout written. The others are of the shared image's own seal: packages configured, the module index and the
 * initramfs made, the image checked, the seal packed. Each phase in turn, somewhere in it.
 *
 * INGOT_TEST_KILLS sets how many are killed, a fifth of them at a seal; where in a phase follows from their number, so
 * that a failure can be repeated.
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
import type { Plan, PlanStep } from '../../src/plan/plan.ts';
import { Store } from '../../src/store/store.ts';
import { verifyStore } from '../../src/store/verify.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { splitLines } from '../../src/proc/run.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { linkBase, linkStep, smallPlan } from '../support/small-plan.ts';
import { storeWithPackages } from '../support/thin-store.ts';
import { planOf } from '../support/unpacked-root.ts';

const KILLS = Number(process.env['INGOT_TEST_KILLS'] ?? 9);
const SEAL_KILLS = Math.round(KILLS / 5);
/** The longest of a seal's first, so that a few kills hit those. */
const SEAL_PHASES = ['initramfs', 'pack seal', 'configure', 'module index', 'check image', 'write layout'];
const SEAL_STEPS: readonly string[] = ['initramfs', 'seal'];

/** What is built and killed. */
interface Subject {
  readonly planFile: string;
  /** What each build makes anew. */
  readonly made: readonly PlanStep[];
}

let image: BuiltImage;
let folder: string;
let store: Store;
let layers: Subject;
let seal: Subject;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/kills-'));
  storeWithPackages(image, join(folder, 'store'));
  store = await Store.open(join(folder, 'store'));
  const small = await smallPlan(image, store, { one: [], two: [] });
  linkBase(small, image.store, store);
  layers = subject('layers', small, small.steps.slice(1));
  const whole = await planOf(image);
  const made = whole.steps.filter(({ name }) => SEAL_STEPS.includes(name));
  for (const step of whole.steps.slice(1)) if (!made.includes(step)) linkStep(step, image.store, store);
  seal = subject('seal', whole, made);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function subject(name: string, plan: Plan, made: readonly PlanStep[]): Subject {
  const planFile = join(folder, `${name}.json`);
  writeFileSync(planFile, JSON.stringify(plan));
  return { planFile, made };
}

interface Ended {
  /** Undefined for a build that did not get there. */
  readonly digest: string | undefined;
  /** The last one that began. */
  readonly phase: string;
  /** How long each took, in milliseconds, in their order. */
  readonly phases: ReadonlyMap<string, number>;
}

/** @param kill where to end it: so many milliseconds after this phase has begun */
function build(
  { planFile }: Subject,
  kill?: { readonly phase: string; readonly afterMs: number },
): Promise<Ended> {
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
function forget({ made }: Subject): void {
  for (const { key, treeKey } of made) {
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

async function killedAt(what: Subject, phase: string, afterMs: number): Promise<Ended> {
  forget(what);
  return build(what, { phase, afterMs });
}

/** Kills builds of it in these phases in turn; the build after each must give what the first gave. */
async function killInTurn(
  what: Subject,
  kills: number,
  phasesOf: (whole: Ended) => readonly string[],
): Promise<string | undefined> {
  forget(what);
  let whole = await build(what);
  const { digest } = whole;
  expect(digest).toMatch(/^sha256:/);
  const phases = phasesOf(whole);
  expect(phases.length).toBeGreaterThan(0);
  const hit = new Map(whole.phases.keys().map((phase) => [phase, 0]));
  for (let number = 0; number < kills; number += 1) {
    const phase = phases[number % phases.length] ?? '';
    let afterMs = moment(number) * (whole.phases.get(phase) ?? 0);
    let killed = await killedAt(what, phase, afterMs);
    // How long a phase takes changes with what else the machine does: a build that got away is killed sooner.
    for (let tries = 0; killed.digest !== undefined && tries < 2; tries += 1) {
      afterMs /= 4;
      killed = await killedAt(what, phase, afterMs);
    }
    await untilNothingIsLeft();
    if (killed.digest === undefined) hit.set(killed.phase, (hit.get(killed.phase) ?? 0) + 1);
    const name = `kill ${number}, ${Math.round(afterMs)} ms into "${phase}"`;
    whole = await build(what);
    expect([name, whole.digest]).toEqual([name, digest]);
    expect([name, left()]).toEqual([name, []]);
    expect([name, readdirSync(store.path('tmp'))]).toEqual([name, []]);
    expect([name, readdirSync(folder).sort()]).toEqual([
      name,
      ['layers.json', 'layout', 'seal.json', 'store'],
    ]);
    const { problems } = await verifyStore(store, { trees: number % 10 === 9 });
    expect([name, problems]).toEqual([name, []]);
    await verifyLayout(join(folder, 'layout'));
  }
  const table = phases.map((phase) => `${phase} ${hit.get(phase) ?? 0}`).join(', ');
  process.stderr.write(`builds killed while they ran, by phase: ${table}\n`);
  const running = [...hit.values()].reduce((sum, count) => sum + count, 0);
  // A phase may end sooner than it did in the build before; that nearly all were hit shows that something was tried.
  expect(running, table).toBeGreaterThanOrEqual(Math.floor(kills * 0.9));
  if (kills >= 5 * phases.length)
    expect(
      phases.every((phase) => (hit.get(phase) ?? 0) > 0),
      table,
    ).toBe(true);
  return digest;
}

test(
  `${KILLS - SEAL_KILLS} builds of layers killed anywhere, each followed by one that is right`,
  async () => {
    await killInTurn(layers, KILLS - SEAL_KILLS, ({ phases }) => [...phases.keys()]);
  },
  Math.max(600, KILLS * 60) * 1000,
);

test(
  `${SEAL_KILLS} builds killed at the seal, each followed by one that is right`,
  async () => {
    const digest = await killInTurn(seal, SEAL_KILLS, ({ phases }) => {
      expect([...phases.keys()]).toEqual(expect.arrayContaining(SEAL_PHASES));
      return SEAL_PHASES;
    });
    expect(digest).toBe(image.digest);
  },
  Math.max(600, SEAL_KILLS * 300) * 1000,
);

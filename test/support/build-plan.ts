/**
 * A program of its own that builds a plan, so that tests can kill it: `node build-plan.ts PLAN STORE LAYOUT`. Prints
 * `phase NAME` as each of its phases begins, and `built DIGEST` at the end.
 */
import { readFile } from 'node:fs/promises';

import { buildImage } from '../../src/build/build-image.ts';
import { useStore } from '../../src/cli/use-store.ts';
import { hexOf } from '../../src/digest.ts';
import { writeLayout } from '../../src/oci/layout-write.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { createReporter, type ReportEvent } from '../../src/report/events.ts';

const [plan = '', storePath = '', layout = ''] = process.argv.slice(2);
const parsed = JSON.parse(await readFile(plan, 'utf8')) as Plan;
let current = '';
function enter(phase: string): void {
  if (phase === current) return;
  current = phase;
  process.stdout.write(`phase ${phase}\n`);
}

let building = 0;
let sealing = false;
const titles = new Map<string, string>();

/** Of the seal, and of the initramfs that it waits for, when all else is there. */
function followSeal(event: ReportEvent): boolean {
  if (event.type === 'stage-start') titles.set(event.id, event.title);
  if (event.type === 'stage-start' && event.title === 'Build seal') {
    sealing = true;
    enter('module index');
  }
  if (!sealing) return false;
  if (event.type === 'log' && event.message.startsWith('dracut')) enter('initramfs');
  if (event.type === 'log' && event.message.startsWith('Setting up ')) enter('configure');
  if (event.type === 'stage-start' && event.title === 'Check image') enter('check image');
  const isOfSeal = 'id' in event && titles.get(event.id) === 'Build seal';
  if (isOfSeal && event.type === 'stage-progress' && event.detail === 'packing') enter('pack seal');
  if (isOfSeal && event.type === 'stage-end') {
    sealing = false;
    enter('finish');
  }
  return true;
}

function follow(event: ReportEvent): void {
  if (followSeal(event)) return;
  if (event.type === 'stage-start' && event.title === 'Fetch packages') enter('check packages');
  if (event.type === 'stage-start' && event.title.startsWith('Build ')) {
    building += 1;
    enter('unpack');
  }
  if (event.type === 'stage-progress' && event.detail === 'packing') enter('pack');
  if (event.type === 'stage-end' && event.title.startsWith('Build ') && (building -= 1) === 0)
    enter('finish');
}

enter('open store');
const { signal } = new AbortController();
const reporter = createReporter([follow]);
await using inUse = await useStore({ storePath, reporter, signal });
const { store } = inUse;
enter('look up');
const image = await buildImage({
  plan: parsed,
  store,
  mirrors: () => loadMirrors(process.env),
  reporter,
});
enter('write layout');
await writeLayout(layout, { name: 'killed', manifest: image.manifest }, (digest) =>
  store.blobPath(hexOf(digest)),
);
process.stdout.write(`built ${image.digest}\n`);

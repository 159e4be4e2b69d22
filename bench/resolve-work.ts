/**
 * Solves declarations of a folder one after the other and prints seconds of the first, the middle and the 99th of a
 * hundred, by the clock and of this thread's own processor time: `resolve-work.ts FOLDER COUNT`. Files, facts and
 * layers are read before; the solver's answer, with findings and suggestions, is what is measured.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { recallFacts } from '../src/catalog/facts/recall.ts';
import { loadCatalog } from '../src/catalog/load.ts';
import { PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { judgeFit } from '../src/resolve/fit/fit.ts';
import { offersOf, requestOf } from '../src/resolve/fit/from-image.ts';
import { loadSpec } from '../src/spec/load.ts';

const [folder = '', count = '1'] = process.argv.slice(2);
const facts = await recallFacts(join(PRODUCT_ROOT, 'drivers'));
const catalog = await loadCatalog([join(PRODUCT_ROOT, 'layers')], { onOverride: () => undefined });
const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
const requests = await Promise.all(
  names.map(async (name, index) => {
    const { image } = await loadSpec(join(folder, name), {
      cwd: folder,
      defaultRelease: (base) => catalog.find('base', base)?.definition.defaultRelease,
    });
    // By the facts alone there is more to choose from.
    const byFacts = index % 2 === 0;
    return {
      request: requestOf(image, catalog, byFacts ? facts : undefined),
      offers: byFacts ? undefined : offersOf(image, catalog),
    };
  }),
);

const now = '2026-11-22';
const walls: number[] = [];
const cpus: number[] = [];
for (let index = 0; index < Number(count); index += 1) {
  const { request, offers } = requests[index % requests.length] ?? {};
  if (request === undefined) throw new TypeError(`there are no declarations in ${folder}`);
  const before = process.threadCpuUsage();
  const start = performance.now();
  judgeFit(request, { facts, now, ...(offers !== undefined && { offers }) });
  walls.push((performance.now() - start) / 1000);
  const { user, system } = process.threadCpuUsage(before);
  cpus.push((user + system) / 1e6);
}
// The clock of processor time is too coarse for one quick solve.
const mean = cpus.reduce((sum, one) => sum + one, 0) / cpus.length;
process.stdout.write(
  `${JSON.stringify({
    first: { wall: walls[0], cpu: cpus[0] },
    middle: { wall: nth(walls, 0.5), cpu: mean },
    late: { wall: nth(walls, 0.99), cpu: nth(cpus, 0.99) },
  })}\n`,
);

function nth(values: readonly number[], share: number): number | undefined {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length * share)];
}

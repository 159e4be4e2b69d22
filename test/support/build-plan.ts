/** A program of its own that builds a plan, so that tests can kill it: `node build-plan.ts PLAN STORE LAYOUT`. */
import { readFile } from 'node:fs/promises';

import { buildImage } from '../../src/build/build-image.ts';
import { useStore } from '../../src/cli/use-store.ts';
import { hexOf } from '../../src/digest.ts';
import { writeLayout } from '../../src/oci/layout-write.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { silentReporter } from '../../src/report/events.ts';

const [plan = '', storePath = '', layout = ''] = process.argv.slice(2);
const parsed = JSON.parse(await readFile(plan, 'utf8')) as Plan;
const { signal } = new AbortController();
await using inUse = await useStore({ storePath, reporter: silentReporter, signal });
const { store } = inUse;
const image = await buildImage({
  plan: parsed,
  store,
  mirrors: () => loadMirrors(process.env),
  reporter: silentReporter,
});
await writeLayout(layout, { name: 'killed', manifest: image.manifest }, (digest) =>
  store.blobPath(hexOf(digest)),
);
process.stdout.write(image.digest);

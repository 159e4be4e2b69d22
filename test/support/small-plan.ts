/** Plans of small layers over the shared image's base, without a seal: what is built in seconds. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { builderDigest } from '../../src/build/builder-digest.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { loadLock, lockPathOf } from '../../src/cli/load-lock.ts';
import { digestOfJson, hexOf } from '../../src/digest.ts';
import { REST } from '../../src/plan/chunks.ts';
import { makePlan } from '../../src/plan/make-plan.ts';
import type { Plan, PlanStep } from '../../src/plan/plan.ts';
import { loadSpec } from '../../src/spec/load.ts';
import type { Store } from '../../src/store/store.ts';
import type { BuiltImage } from './built-image.ts';
import { PRODUCT_ROOT } from './cli.ts';
import { addPackage } from './local-project.ts';

/**
 * @param store gets the packages that the layers are made of
 * @param layers by name, each with the others that it stands on
 */
export async function smallPlan(
  image: BuiltImage,
  store: Store,
  layers: Readonly<Record<string, readonly string[]>>,
): Promise<Plan> {
  const catalog = await loadCatalog([join(PRODUCT_ROOT, 'layers')]);
  const { image: declared } = await loadSpec(image.declaration, {
    cwd: store.root,
    variant: undefined,
    known: { addons: ['ssh'], bases: ['debian'], kernels: ['cloud'], agents: [] },
    defaultRelease: () => undefined,
  });
  const lock = await loadLock(lockPathOf(image.declaration));
  const whole = makePlan({ image: declared, lock, catalog, builder: await builderDigest() });
  const [base] = whole.steps;
  if (base === undefined) throw new Error('no base');
  const like = whole.steps.find(({ kind }) => kind === 'unpack') ?? base;
  const steps = [base];
  for (const [name, others] of Object.entries(layers)) {
    const packages = [];
    for (const number of [1, 2, 3]) {
      const filler = createHash('sha512').update(`${name}${number}`).digest('hex').repeat(20_000);
      const item = { name: `${name}-${number}`, files: { [`usr/share/${name}/${number}`]: filler } };
      packages.push(await addPackage(store, { ...item, scripts: { preinst: 'sleep 0.2' } }));
    }
    const needs = ['base', ...others];
    const below = steps.filter((step) => needs.includes(step.name));
    steps.push({
      ...like,
      name,
      treeKey: digestOfJson({ below: below.map(({ treeKey }) => treeKey), packages }),
      key: digestOfJson({ below: below.map(({ key }) => key), packages, packed: true }),
      chunks: [
        { name: REST, packages: [] },
        { name, packages: packages.map((item) => item.name) },
      ],
      needs,
      packages,
      files: [],
      summary: name,
    });
  }
  return { ...whole, steps };
}

/** The base as the shared store has it. */
export function linkBase({ steps }: Plan, shared: string, store: Store): void {
  const base: PlanStep | undefined = steps[0];
  if (base === undefined) throw new Error('no base');
  linkStep(base, shared, store);
}

/** A step as the shared store has it: tree, blobs, and what is known about them. */
export function linkStep(step: PlanStep, shared: string, store: Store): void {
  const key = hexOf(step.key);
  const record = readFileSync(join(shared, `records/layers/${key}.json`), 'utf8');
  const blobs = [...record.matchAll(/"digest": "sha256:([0-9a-f]{64})"/g)].map(
    ([, hex]) => `blobs/sha256/${hex ?? ''}`,
  );
  for (const path of [`trees/${hexOf(step.treeKey)}`, `records/layers/${key}.json`, ...blobs]) {
    mkdirSync(join(store.root, path, '..'), { recursive: true });
    execFileSync('cp', ['--archive', '--link', join(shared, path), join(store.root, path)]);
  }
}

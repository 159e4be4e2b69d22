/**
 * Detection and gate on this machine's own GPUs, where it has some of NVIDIA's and their driver. Elsewhere it
 * says why it is skipped; what those parts read is then known from `test/fixtures/nvidia` alone.
 */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';

import { runGate } from '../../src/node/gate/gate.ts';
import { findGpus } from '../../src/node/host-gpus.ts';

const gpus = (await findGpus()).filter(({ pci }) => pci.startsWith('10de:'));
const lacking = [
  ...(gpus.length === 0 ? ['no GPU of NVIDIA'] : []),
  ...(existsSync('/proc/driver/nvidia/version') ? [] : ['no driver of NVIDIA']),
];
const why = lacking.length === 0 ? '' : `: there is ${lacking.join(' and ')}`;
if (why !== '') console.warn(`SKIPPED, the GPU part of the gate${why}`);

test.skipIf(lacking.length > 0)(`this machine’s GPUs are good${why}`, { timeout: 300_000 }, async () => {
  const { checks } = await runGate({ root: '/', gpus });
  const ofGpus = checks.filter(({ source }) => source === 'gpu');
  // What was found is the proof, and what fixtures are made of.
  for (const { name, healthy, output } of ofGpus)
    console.info(`${name}: ${healthy ? 'good' : 'bad'}: ${output}`);
  expect(ofGpus.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['gpu-driver', 'gpu-answers', 'gpu-fabric', 'gpu-log']),
  );
  expect(ofGpus.filter(({ healthy }) => !healthy)).toEqual([]);
});

import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

import { LongestFirst } from './test/support/longest-first.ts';

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        // Fast, no root, no network: beside the code, and the architecture test.
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'bench/**/*.test.ts', 'test/*.test.ts'],
          testTimeout: 30_000,
          sequence: { groupOrder: 0 },
          // Vitest's own choice leaves one core idle.
          maxWorkers: availableParallelism(),
        },
      },
      {
        // Real programs, real mirror, real VM. Two files at a time: most of what they run has one thread. They share
        // one store, so what a test says about processes, mounts and folders must be about its own alone.
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: 'test/support/test-run.ts',
          testTimeout: 900_000,
          hookTimeout: 900_000,
          sequence: { groupOrder: 1 },
          maxWorkers: 2,
        },
      },
      {
        // Everything that boots machines, and nothing else: `npm run test:vm`. Two are integration tests too.
        test: {
          name: 'vm',
          include: ['test/integration/{vm,node-vm}.test.ts', 'test/vm/**/*.test.ts'],
          globalSetup: 'test/support/test-run.ts',
          testTimeout: 1_800_000,
          hookTimeout: 1_800_000,
          // A machine is emulated on a core of its own; two would only wait for each other.
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          maxWorkers: 1,
        },
      },
      {
        // What takes the better part of an hour, or gigabytes: `npm run test:long`, and never by default.
        test: {
          name: 'long',
          include: ['test/long/**/*.test.ts'],
          globalSetup: 'test/support/test-run.ts',
          testTimeout: 7_200_000,
          hookTimeout: 900_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
          maxWorkers: 1,
        },
      },
      {
        // Machines that lose their power, one after the other, for hours: `npm run test:chaos`, and never by default.
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          globalSetup: 'test/support/test-run.ts',
          testTimeout: 86_400_000,
          hookTimeout: 7_200_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
          maxWorkers: 1,
        },
      },
    ],
  },
});

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        // Fast, no root, no network: beside the code, and the architecture test.
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'bench/**/*.test.ts', 'test/*.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        // Real programs, real mirror, real VM. One file at a time: they share two cores and one store.
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          fileParallelism: false,
          maxWorkers: 1,
        },
      },
      {
        // What takes the better part of an hour, or gigabytes: `npm run test:long`, and never by default.
        test: {
          name: 'long',
          include: ['test/long/**/*.test.ts'],
          testTimeout: 7_200_000,
          hookTimeout: 900_000,
          fileParallelism: false,
          maxWorkers: 1,
        },
      },
    ],
  },
});

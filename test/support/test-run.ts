/** Gives a test run a name, which all its workers see: what one test file has built, the next need not build again. */
import { randomUUID } from 'node:crypto';

import type { TestProject } from 'vitest/node';

const VARIABLE = 'INGOT_TEST_RUN';

/** Vitest calls it before the first worker starts. A run that watches goes on with other sources, and has no name. */
export function setup({ config }: TestProject): void {
  if (!config.watch) process.env[VARIABLE] ??= randomUUID();
}

/** Undefined where nothing may be taken from before. */
export function testRun(): string | undefined {
  return process.env[VARIABLE];
}

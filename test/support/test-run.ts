/** Gives a test run a name, which all its workers see: what one test file has built, the next need not build again. */
import { randomUUID } from 'node:crypto';

const VARIABLE = 'INGOT_TEST_RUN';

/** Vitest calls it once, before the first worker starts. */
export function setup(): void {
  process.env[VARIABLE] ??= randomUUID();
}

/** Undefined outside of a run. */
export function testRun(): string | undefined {
  return process.env[VARIABLE];
}

/** An image's own health checks, as the image holds them for its node. */
import * as z from 'zod';

import { IngotError } from '../errors.ts';

export const HEALTH_FILE = '/usr/lib/ingot/health.json';

const HealthFile = z.array(
  z.object({ name: z.string(), run: z.string(), timeoutSeconds: z.number().positive() }),
);
export type HealthChecks = z.infer<typeof HealthFile>;

/** @throws IngotError HEALTH_FAILED when the file is not what it should be. */
export function parseHealthFile(text: string): HealthChecks {
  try {
    return HealthFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new IngotError('HEALTH_FAILED', `${HEALTH_FILE} in the image cannot be read`, { cause });
  }
}

/** INGOT_SCRIPT_SILENCE: how long a package script may say nothing before it counts as hanging. */
import { IngotError } from '../errors.ts';
import type { CommandContext } from './context.ts';

const MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

/** @throws IngotError ENVIRONMENT for what is no time */
export function scriptSilenceMs(env: CommandContext['env']): number | undefined {
  const text = env['INGOT_SCRIPT_SILENCE'];
  if (text === undefined || text === '') return undefined;
  const [, number = '', unit = ''] = /^([1-9]\d{0,5})([smh])$/.exec(text) ?? [];
  const factor = MS[unit];
  // What a timer can wait for.
  if (factor !== undefined && Number(number) * factor < 2 ** 31) return Number(number) * factor;
  throw new IngotError('ENVIRONMENT', `INGOT_SCRIPT_SILENCE is ${JSON.stringify(text)}, which is no time`, {
    hint: 'write a whole number and s, m or h, such as 45m',
  });
}

/** The time that a new lock carries. */
import { IngotError } from '../errors.ts';
import type { CommandContext } from './context.ts';

/** SOURCE_DATE_EPOCH, else now. @throws IngotError ENVIRONMENT when that is not a number of seconds */
export function lockTime({ env, now }: Pick<CommandContext, 'env' | 'now'>): Date {
  const epoch = env['SOURCE_DATE_EPOCH'];
  if (epoch === undefined || epoch === '') return now();
  const time = new Date(Number(epoch) * 1000);
  if (/^\d{1,12}$/.test(epoch) && time.getUTCFullYear() <= 9999) return time;
  throw new IngotError(
    'ENVIRONMENT',
    `SOURCE_DATE_EPOCH is not a time in seconds: ${JSON.stringify(epoch)}`,
    {
      hint: 'give seconds since 1970, or leave it unset',
    },
  );
}

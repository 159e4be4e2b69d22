/** How long to wait before another try. Pure, but for the dice. */

export const ATTEMPTS = 5;
const FIRST_MS = 500;
const LONGEST_MS = 30_000;
/** A server that wants a longer pause is not waited for. */
export const MAX_RETRY_AFTER_MS = 120_000;

/**
 * Milliseconds before try number `attempt` (2 or more): exponential, and any part of it, so that many clients do not
 * come back together; never less than what the server asked for.
 */
export function backoffMs(attempt: number, retryAfterMs = 0, random: () => number = Math.random): number {
  const bound = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.max(0, attempt - 2));
  return Math.max(retryAfterMs, bound / 2 + (bound / 2) * random());
}

/** `Retry-After` in milliseconds (RFC 9110, section 10.2.3): seconds or a date. */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

export function isTransientStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501);
}

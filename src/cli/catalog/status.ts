/** How long a driver branch is supported, in a person's words. */
import type { DriverBranch, Row, SupportStatus } from '../../catalog/facts/types.ts';

/** `today` decides whether an end of life has come: a branch that is said to be supported ends all the same. */
export function statusOf({ status, endOfLife }: DriverBranch, today: Date): SupportStatus {
  if (status !== 'supported' || endOfLife === undefined) return status;
  return today.toISOString().slice(0, endOfLife.length) > endOfLife ? 'eol' : status;
}

export function describeStatus(branch: DriverBranch, today: Date): string {
  const { endOfLife } = branch;
  switch (statusOf(branch, today)) {
    case 'supported':
      return endOfLife === undefined ? 'supported' : `supported until ${endOfLife}`;
    case 'eol':
      return endOfLife === undefined ? 'end of life' : `end of life since ${endOfLife}`;
    case 'preview':
      return 'preview';
    case 'unknown':
      return 'not stated';
  }
}

/** Marks what is known with little confidence. */
export function doubt({ confidence }: Row): string {
  return confidence === 'low' ? ' ?' : '';
}

export const DOUBT_LEGEND = '? known with low confidence';

/** `Driver lifecycle <https://…>`, one line for each source. */
export function sourceLines(rows: readonly Row[]): string[] {
  const lines = rows.flatMap(({ sources }) =>
    sources.map(({ title, url }) => (url === undefined ? title : `${title} <${url}>`)),
  );
  return [...new Set(lines)];
}

/** Findings from several files and passes, put in order for a reader. */
import type { Finding, Location } from '../errors.ts';

const MAX_ERRORS = 100;

/** Each finding once: errors before warnings, file by file, in the order of the text, and not too many. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  const unique = new Map<string, Finding>();
  const files = new Map<string, number>();
  for (const finding of findings) {
    const file = finding.location?.file ?? '';
    if (!files.has(file)) files.set(file, files.size);
    const key = placeKey(finding.location) + finding.message;
    if (!unique.has(key)) unique.set(key, finding);
  }
  const order = ({ location }: Finding): [number, number, number] => [
    files.get(location?.file ?? '') ?? 0,
    location?.line ?? 0,
    location?.column ?? 0,
  ];
  const sorted = [...unique.values()].sort((left, right) => {
    const [a, b] = [order(left), order(right)];
    return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
  });
  const errors = sorted.filter(({ severity }) => severity === 'error');
  const [last] = errors.slice(-1);
  const more = errors.length - MAX_ERRORS;
  if (last !== undefined && more > 0) {
    errors.length = MAX_ERRORS;
    errors.push({ code: last.code, severity: 'error', message: `${more} more problems are not shown` });
  }
  return [...errors, ...sorted.filter(({ severity }) => severity === 'warning')];
}

/** Equal for equal places. */
export function placeKey(location: Location | undefined): string {
  return JSON.stringify([location?.file, location?.line, location?.column]);
}

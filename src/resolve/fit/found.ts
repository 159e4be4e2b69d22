/** What looking a name or a version up takes, and what it gives. */
import type { FactsIndex } from './facts-index.ts';
import type { Element, FitContext, FitRequest, GpuVendor } from './request.ts';

/** A name or version that nothing is known of, or that no source offers. */
export interface Gap {
  readonly rule: 'unknown' | 'offered';
  readonly message: string;
  readonly about: readonly Element[];
  /** The names most like it, best first. */
  readonly near: readonly string[];
}

/** Candidates of one kind, or why there are none. */
export interface Found<T> {
  readonly candidates: readonly T[];
  readonly gap?: Gap;
}

/** What candidates are made from. */
export interface Named {
  readonly request: FitRequest;
  readonly context: FitContext;
  readonly index: FactsIndex;
  readonly vendors: ReadonlySet<GpuVendor>;
  /** Every GPU that is asked for is a data-center one. */
  readonly isDataCenter: boolean;
}

const MAX_NEAR = 3;

/** The versions that differ least, number by number: 13.4 is nearer to 13.9 than 12.9 is. */
export function nearestVersions(asked: string, known: readonly string[]): string[] {
  if (!/^\d+(?:\.\d+)*$/.test(asked)) return [];
  const numbers = (version: string): number[] =>
    version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const wanted = numbers(asked);
  const distances = [...new Set(known)].map((version) => ({
    version,
    distance: numbers(version).map((number, index) => Math.abs(number - (wanted[index] ?? 0))),
  }));
  const order = (a: readonly number[], b: readonly number[]): number => {
    const at = a.findIndex((number, index) => number !== (b[index] ?? 0));
    return at < 0 ? a.length - b.length : (a[at] ?? 0) - (b[at] ?? 0);
  };
  distances.sort((a, b) => order(a.distance, b.distance) || (a.version < b.version ? -1 : 1));
  return distances.slice(0, MAX_NEAR).map(({ version }) => version);
}

/** `550` is the start of `550.163.01`, and not of `5500`. */
export function startsWithVersion(version: string, prefix: string): boolean {
  return version === prefix || version.startsWith(`${prefix}.`);
}

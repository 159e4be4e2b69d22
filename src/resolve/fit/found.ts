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
}

/** `550` is the start of `550.163.01`, and not of `5500`. */
export function startsWithVersion(version: string, prefix: string): boolean {
  return version === prefix || version.startsWith(`${prefix}.`);
}

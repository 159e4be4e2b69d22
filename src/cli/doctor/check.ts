/** One thing that `ingot doctor` looked at. */
export interface Check {
  readonly name: string;
  /** `fail`: builds do not work. `warn`: something works less well, or some commands do not work. */
  readonly status: 'pass' | 'warn' | 'fail';
  readonly found: string;
  /** What to do about it; for everything but `pass`. */
  readonly mend?: string;
}

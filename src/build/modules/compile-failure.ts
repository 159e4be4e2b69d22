/** What a failed build of modules tells its user: the compiler's own words, and what is known of the pair. */
import { IngotError } from '../../errors.ts';
import type { ModulesInput } from '../../plan/plan.ts';

/** GCC's, ld's, modpost's and make's. */
const COMPLAINT = /(?:^|[\s:])(?:fatal )?error: |^ERROR: modpost: |\*\*\* |undefined reference to /;
const SHOWN = 8;
/** How many lines that may be complaints are kept in all. */
const KEPT = 200;

/** Takes the lines of a compilation and keeps those that say what went wrong. */
export class CompileComplaints {
  readonly #lines: string[] = [];

  add(line: string): void {
    if (this.#lines.length < KEPT && COMPLAINT.test(line)) this.#lines.push(line.trim());
  }

  /** Errors before what make says of them, the first few. */
  get lines(): readonly string[] {
    const unique = [...new Set(this.#lines)];
    const own = unique.filter((line) => !line.includes('*** '));
    const shown = own.length > 0 ? own : unique;
    return shown.length > SHOWN ? [...shown.slice(0, SHOWN), `and ${shown.length - SHOWN} more`] : shown;
  }
}

export function compileFailure(
  input: ModulesInput,
  complaints: CompileComplaints,
  error: IngotError,
): IngotError {
  const { source, kernelRelease, known } = input;
  const lines = [
    `${source.name} ${source.version} does not build for ${kernelRelease}`,
    ...complaints.lines.map((line) => `  ${line}`),
    ...known.map((line) => `known of the two: ${line}`),
  ];
  return new IngotError('BUILD_FAILED', lines.join('\n'), {
    hint: 'take a kernel that this source builds for, as `kernel: {version: …}`, or another version of the driver; `ingot explain` says which go together',
    cause: error,
    ...(error.output !== undefined && { output: error.output }),
  });
}

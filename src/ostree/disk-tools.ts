/** Runs programs of the tools root, and says what their failures mean for a disk. */
import { errnoOf, IngotError } from '../errors.ts';
import { run, type Argv, type RunOptions, type RunResult } from '../proc/run.ts';
import type { ToolBind, ToolOptions, ToolsRoot } from '../tools/tools-root.ts';

/** Where ostree and its friends run: from the tools root, or on the node itself. */
export interface OstreeTools {
  readonly signal: AbortSignal | undefined;
  /** @throws IngotError DISK_FULL, INTERRUPTED, or DISK_FAILED with what the program said. */
  run(
    program: Argv,
    binds: readonly ToolBind[],
    tool?: ToolOptions,
    options?: Omit<RunOptions, 'signal' | 'shown'>,
  ): Promise<RunResult>;
}

export class DiskTools implements OstreeTools {
  readonly root: ToolsRoot;
  readonly #signal: AbortSignal | undefined;

  constructor(root: ToolsRoot, signal?: AbortSignal) {
    this.root = root;
    this.#signal = signal;
  }

  get signal(): AbortSignal | undefined {
    return this.#signal;
  }

  /** @throws IngotError DISK_FULL, INTERRUPTED, or DISK_FAILED with what the program said. */
  async run(
    program: Argv,
    binds: readonly ToolBind[],
    tool: ToolOptions = {},
    options: Omit<RunOptions, 'signal' | 'shown'> = {},
  ): Promise<RunResult> {
    const argv = this.root.argv(program, binds, tool);
    return await asDiskFailure(
      run(argv, { label: program[0], ...options, shown: program, signal: this.#signal }),
    );
  }
}

/** Turns what a full disk and a failed tool throw into the errors of this folder; lets everything else through. */
export async function asDiskFailure<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOSPC') throw diskFull(error);
    if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
    if (
      /No space left on device|Disk quota exceeded|min-free-space-\S+ '[^']*' would be exceeded/.test(
        error.output ?? '',
      )
    )
      throw diskFull(error);
    throw new IngotError('DISK_FAILED', error.message, {
      cause: error,
      ...(error.output !== undefined && { output: error.output }),
    });
  }
}

function diskFull(cause: unknown): IngotError {
  return new IngotError('DISK_FULL', 'no space left while writing the disk', {
    hint: 'free some space where the output and the store are; `ingot store gc` removes what no image needs',
    cause,
    ...(cause instanceof IngotError && cause.output !== undefined && { output: cause.output }),
  });
}

/** Programs of the node itself: its image brought them together, so their versions fit. */
import { IngotError } from '../errors.ts';
import { asDiskFailure, type OstreeTools } from '../ostree/disk-tools.ts';
import { run, type Argv, type RunOptions, type RunResult } from '../proc/run.ts';
import type { ToolBind, ToolOptions } from '../tools/tools-root.ts';

/** Runs programs that the node has. */
export type NodeTools = Pick<HostTools, 'run' | 'signal'>;

export class HostTools implements OstreeTools {
  readonly signal: AbortSignal | undefined;

  constructor(signal?: AbortSignal) {
    this.signal = signal;
  }

  /** @throws IngotError NODE_FAILED with what the program said, DISK_FULL, INTERRUPTED, TOOL_MISSING */
  async run(
    program: Argv,
    _binds: readonly ToolBind[] = [],
    _tool: ToolOptions = {},
    options: Omit<RunOptions, 'signal' | 'shown'> = {},
  ): Promise<RunResult> {
    return await asNodeFailure(asDiskFailure(run(program, { ...options, signal: this.signal })));
  }
}

/** What fails on a node is no matter of a disk being made. */
export async function asNodeFailure<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof IngotError) || (error.code !== 'DISK_FAILED' && error.code !== 'DISK_FULL'))
      throw error;
    const { code, message, output, hint } = error;
    if (code === 'DISK_FULL') {
      throw new IngotError('DISK_FULL', 'no space left on this node', {
        hint: 'remove a deployment that is not needed (`ingot node unpin`, `ingot node gc`), or files in /var',
        cause: error,
        ...(output !== undefined && { output }),
      });
    }
    throw new IngotError('NODE_FAILED', message, {
      cause: error,
      ...(hint !== undefined && { hint }),
      ...(output !== undefined && { output }),
    });
  }
}

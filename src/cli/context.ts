/**
 * What a command handler receives, and what it gives back. Handlers never print and never exit: they return a
 * result, which `program.ts` prints as text or as JSON, and throw IngotErrors, which `start.ts` renders.
 */
import type { Reporter } from '../report/events.ts';
import type { Palette } from '../report/palette.ts';

export interface CommandContext {
  readonly reporter: Reporter;
  /** Fires on Ctrl-C and SIGTERM. Every long operation takes it. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** INGOT_STORE, or the default below the user's cache directory. */
  readonly storePath: string;
  /** The product's own folder, which holds `layers/` and `schema/`. */
  readonly productRoot: string;
  readonly now: () => Date;
  readonly verbose: boolean;
  /** Of stdout, for the text of a result. */
  readonly palette: Palette;
  /** True when `--json` was given; for the rare handler whose work depends on it. */
  readonly json: boolean;
}

export interface CommandResult {
  /** Printed on stdout with `--json`, after `schemaVersion` is added. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Printed on stdout otherwise. */
  readonly text: string;
  /** 1 when the command ran but its answer is "no" (such as `lock --check`). Default 0. */
  readonly exitCode?: 0 | 1 | 2;
}

/** Turns a handler into a commander action; made by `program.ts`. */
export type Bind = <Arguments extends unknown[]>(
  handler: (context: CommandContext, ...args: Arguments) => Promise<CommandResult>,
) => (...args: Arguments) => Promise<void>;

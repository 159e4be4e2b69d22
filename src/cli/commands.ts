/** Every command, one line each, in the order of the help. A module loads when its command is used. */
import type { Command } from 'commander';

import type { Bind } from './context.ts';

type CommandLoader = () => Promise<(bind: Bind) => Command>;

// prettier-ignore
export const COMMANDS: ReadonlyMap<string, CommandLoader> = new Map<string, CommandLoader>([
]);

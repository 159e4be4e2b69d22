/** `ingot` itself: what holds for every command. */
import { Command } from 'commander';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * The product's own folder, which holds `layers/` and `schema/`. On a node it is the folder of the bundle, which has
 * neither.
 */
export const PRODUCT_ROOT = findProductRoot(import.meta.dirname);

export interface GlobalOptions {
  readonly json?: true;
  readonly store?: string;
  readonly verbose?: true;
  readonly progressFd?: string;
  /** False with `--no-color`. */
  readonly color: boolean;
}

const HELP_AFTER = `
Examples:
  ingot validate images/debian-minimal.yaml      check a declaration
  ingot lock images/debian-minimal.yaml          choose every package and write the lock
  ingot build images/debian-minimal.yaml         build what the lock says
  ingot disk images/debian-minimal.yaml -o node.raw
  ingot test images/debian-minimal.yaml          boot it and run its health checks

Environment:
  INGOT_STORE        folder of the local cache (--store)
  INGOT_MIRROR       package mirror, instead of the machine's own apt configuration
  NO_COLOR           no colours; FORCE_COLOR asks for them off a terminal
  SOURCE_DATE_EPOCH  the time that a new lock carries

Exit codes: 0 fine, 1 the operation failed, 2 usage or declaration, 70 a bug in Ingot, 130 interrupted.
`;

/** The root command, without commands. Accepts its options before and after a command's name. */
export function createRootCommand(): Command {
  return new Command('ingot')
    .description('Locks, builds and boots immutable OS images for AI nodes from one YAML file.')
    .usage('<command> [options]')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help, with examples')
    .option('--json', 'print the result as JSON')
    .option('--store <dir>', 'local cache (default: INGOT_STORE, or ~/.cache/ingot)')
    .option('-v, --verbose', 'say more on stderr')
    .option('--progress-fd <n>', 'write progress as JSON lines to this open file descriptor')
    .option('--no-color', 'no colours')
    .addHelpText('after', HELP_AFTER)
    .configureHelp({ showGlobalOptions: true, sortOptions: false })
    .showSuggestionAfterError(true)
    .exitOverride();
}

/** The nearest folder with a package.json: modules may lie as they were written, compiled, or in one file. */
function findProductRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json')) || dirname(folder) === folder) return folder;
  return findProductRoot(dirname(folder));
}

export function readVersion(): string {
  const text = readFileSync(join(PRODUCT_ROOT, 'package.json'), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return version;
}

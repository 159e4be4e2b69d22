/** esbuild (npm: esbuild), which puts many modules into one file. Its program comes in a package for each machine. */
import type { Argv } from '../proc/run.ts';

/** Lets what was written for `require` find the modules of Node.js. */
const BANNER = `import { createRequire as createBundleRequire } from 'node:module';
const require = createBundleRequire(import.meta.url);`;

/** What @cyclonedx/cyclonedx-library would load for XML, where it is installed. */
const NEVER_LOADED = ['libxmljs2', 'xmlbuilder2'];

/**
 * One ES module of `entry` and everything that it loads, on stdout. To be run in the folder that paths in comments
 * are to be relative to, and the entry too: where a checkout lies must not show.
 */
export function bundleArgv(esbuild: string, entry: string, nodeMajor: number): Argv {
  return [
    esbuild,
    entry,
    '--bundle',
    '--platform=node',
    '--format=esm',
    `--target=node${nodeMajor}`,
    '--charset=utf8',
    '--legal-comments=none', // licences go along in a file of their own
    '--preserve-symlinks', // a node_modules that is a link must not show either
    '--log-level=warning',
    ...NEVER_LOADED.map((name) => `--external:${name}`),
    `--banner:js=${BANNER}`,
  ];
}

/** Name of the npm package that holds the program for a machine, as Node.js names its processor. */
export function esbuildPackage(processor: string): string {
  return `@esbuild/linux-${processor}`;
}

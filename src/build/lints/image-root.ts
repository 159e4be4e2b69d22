/** What lints look at: a finished image root, read as data. Nothing in it is run, no link leads out of it. */
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { IngotError } from '../../errors.ts';
import type { RootFs } from '../root-fs.ts';

export interface LintFacts {
  /** `uname -r` of the image's kernel. */
  readonly kernelRelease: string;
}

export interface ImageRoot {
  readonly fs: RootFs;
  readonly facts: LintFacts;
}

export interface ImageEntry {
  /** Relative to the root, without a leading slash. */
  readonly path: string;
  readonly stats: Stats;
  /** Of a symbolic link. */
  readonly target: string | undefined;
  /** False when the name or the link's target is not UTF-8. */
  readonly isText: boolean;
}

/**
 * A lint is a named property of an image. It gives what is wrong, one text per finding, each with its path;
 * nothing means that it passes. What it throws means that it could not run.
 */
export type Lint = { readonly name: string } & (
  | { readonly check: (image: ImageRoot) => Promise<readonly string[]> }
  | { readonly watch: (image: ImageRoot) => Promise<EntryWatcher> }
);

/** Sees every entry of the image once; all watchers share one walk. */
export interface EntryWatcher {
  entry(entry: ImageEntry): void;
  findings(): readonly string[];
}

/** A watcher that judges each entry by itself. */
export function eachEntry(
  judge: (entry: ImageEntry, image: ImageRoot) => string | undefined,
): (image: ImageRoot) => Promise<EntryWatcher> {
  return (image) => {
    const findings: string[] = [];
    return Promise.resolve({
      entry: (entry) => {
        const finding = judge(entry, image);
        if (finding !== undefined) findings.push(finding);
      },
      findings: () => findings,
    });
  };
}

/** Entries between two turns of the event loop, so that progress shows and Ctrl-C is heard. */
const TURN = 4096;

export async function walkImage(
  root: string,
  see: (entry: ImageEntry) => void,
  signal?: AbortSignal,
): Promise<void> {
  const stack = [''];
  let seen = 0;
  for (let directory = stack.pop(); directory !== undefined; directory = stack.pop()) {
    const names = readdirSync(`${root}/${directory}`, { encoding: 'buffer' });
    for (const bytes of names.sort(Buffer.compare.bind(Buffer))) {
      const path = directory === '' ? bytes.toString() : `${directory}/${bytes.toString()}`;
      const absolute = Buffer.concat([Buffer.from(`${root}/${directory}/`), bytes]);
      const stats = lstatSync(absolute);
      const target = stats.isSymbolicLink() ? readlinkSync(absolute, { encoding: 'buffer' }) : undefined;
      const isNameText = isUtf8(bytes);
      see({
        path,
        stats,
        target: target?.toString(),
        isText: isNameText && (target === undefined || isUtf8(target)),
      });
      // Below a name that is not text, paths could not be told apart: the finding about it is enough.
      if (stats.isDirectory() && isNameText) stack.push(path);
      seen += 1;
      if (seen % TURN === 0) {
        await nextTurn();
        if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while linting the image');
      }
    }
  }
}

export async function lstatIn(fs: RootFs, path: string): Promise<Stats | undefined> {
  return lstatSync(await fs.resolve(path), { throwIfNoEntry: false });
}

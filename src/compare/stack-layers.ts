/** Layers on each other, as a node sees them, and what of that differs. OCI image spec, "Applying Changesets". Pure. */
import type { FileState, LayerEntries } from './image-summary.ts';

export interface FileChange {
  readonly path: string;
  readonly change: 'added' | 'removed' | 'changed';
  /** What of a changed file differs. */
  readonly what?: readonly ('type' | 'content' | 'mode' | 'owner' | 'attributes')[];
  readonly from?: FileState;
  readonly to?: FileState;
  /** The package that brings it, where one does. */
  readonly package?: string | undefined;
}

export interface Stack {
  readonly files: ReadonlyMap<string, FileState>;
  readonly texts: ReadonlyMap<string, string>;
}

/** @param layers lowest first */
export function stackLayers(layers: readonly LayerEntries[]): Stack {
  const files = new Map<string, FileState>();
  const texts = new Map<string, string>();
  const forget = (path: string): void => {
    files.delete(path);
    texts.delete(path);
  };
  for (const { entries, whiteouts, opaque, texts: fresh } of layers) {
    // What is hidden goes before what the same layer brings.
    const replaced = new Set<string>();
    for (const [path, { type }] of entries) {
      if (type !== 'directory' && files.get(path)?.type === 'directory') replaced.add(path);
    }
    const roots = new Set([...whiteouts, ...opaque, ...replaced]);
    if (roots.size > 0) {
      for (const path of [...files.keys()]) if (isBelow(path, roots)) forget(path);
    }
    for (const path of whiteouts) forget(path);
    for (const [path, state] of entries) {
      forget(path);
      files.set(path, state);
      const text = fresh.get(path);
      if (text !== undefined) texts.set(path, text);
    }
  }
  return { files, texts };
}

/** Whether one of the folders holds the path, at any depth. */
export function isBelow(path: string, folders: ReadonlySet<string>): boolean {
  if (folders.has('') && path !== '') return true;
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    if (folders.has(path.slice(0, slash))) return true;
  }
  return false;
}

/**
 * In path order. Folders that come and go with their files are left out: they say nothing by themselves, and the
 * layers that both images have may hold them too.
 */
export function compareFiles(
  before: ReadonlyMap<string, FileState>,
  after: ReadonlyMap<string, FileState>,
  ownerOf: (path: string) => string | undefined = () => undefined,
): FileChange[] {
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort((left, right) =>
    left < right ? -1 : 1,
  );
  return paths.flatMap((path): FileChange[] => {
    const [from, to] = [before.get(path), after.get(path)];
    const owner = { ...(ownerOf(path) !== undefined && { package: ownerOf(path) }) };
    if (from === undefined || to === undefined) {
      const there = from ?? to;
      if (there === undefined || there.type === 'directory') return [];
      return [
        {
          path,
          change: from === undefined ? 'added' : 'removed',
          ...(from !== undefined && { from }),
          ...(to !== undefined && { to }),
          ...owner,
        },
      ];
    }
    const what = differencesOf(from, to);
    return what.length === 0 ? [] : [{ path, change: 'changed', what, from, to, ...owner }];
  });
}

function differencesOf(from: FileState, to: FileState): NonNullable<FileChange['what']> {
  const what: ('type' | 'content' | 'mode' | 'owner' | 'attributes')[] = [];
  if (from.type !== to.type) what.push('type');
  else if (from.content !== to.content || (from.type === 'file' && from.size !== to.size))
    what.push('content');
  // The mode of a link means nothing.
  if (from.mode !== to.mode && to.type !== 'symlink') what.push('mode');
  if (from.uid !== to.uid || from.gid !== to.gid) what.push('owner');
  if (from.attributes !== to.attributes) what.push('attributes');
  return what;
}

/** Changed files by what they belong to: a package, or a folder. */
import { placeOf } from '../../compare/file-owners.ts';
import type { FileChange } from '../../compare/stack-layers.ts';

export interface FileGroup {
  /** A package, or a folder, which begins with a slash. */
  readonly title: string;
  readonly changes: readonly FileChange[];
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
}

/** What no package brings first, since nothing else tells of it; then the largest. */
export function groupFiles(changes: readonly FileChange[]): readonly FileGroup[] {
  const groups = Map.groupBy(changes, (change) => change.package ?? placeOf(change.path));
  const isFolder = (title: string): boolean => title.startsWith('/');
  return [...groups]
    .map(([title, items]): FileGroup => ({
      title,
      changes: items,
      added: items.filter(({ change }) => change === 'added').length,
      removed: items.filter(({ change }) => change === 'removed').length,
      changed: items.filter(({ change }) => change === 'changed').length,
    }))
    .sort(
      (left, right) =>
        Number(isFolder(right.title)) - Number(isFolder(left.title)) ||
        right.changes.length - left.changes.length ||
        (left.title < right.title ? -1 : 1),
    );
}

/** What of a changed file differs, in words. */
export function describeChange({ what = [], from, to }: FileChange): string {
  const octal = (mode: number | undefined): string => (mode ?? 0).toString(8).padStart(4, '0');
  const parts = what.map((kind) => {
    switch (kind) {
      case 'type':
        return `${from?.type ?? ''} → ${to?.type ?? ''}`;
      case 'mode':
        return `mode ${octal(from?.mode)} → ${octal(to?.mode)}`;
      case 'owner':
        return `owner ${from?.uid ?? ''}:${from?.gid ?? ''} → ${to?.uid ?? ''}:${to?.gid ?? ''}`;
      case 'content':
        return to?.type === 'symlink' ? `leads to ${to.content ?? ''}` : 'content';
      case 'attributes':
        return 'extended attributes';
    }
  });
  return parts.join(', ');
}

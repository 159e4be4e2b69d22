/** What moved in a lock, in words. */
import type { LockChanges, LockDifference, Move } from '../resolve/compare-locks.ts';

const SHOWN_CHANGES = 40;
const MIB = 1024 * 1024;

const TITLES: Readonly<Record<Move['what'], string>> = {
  base: 'base',
  kernel: 'kernel',
  driver: 'driver',
  modules: 'modules',
  cuda: 'CUDA',
  runtime: 'runtime',
  model: 'model',
  container: 'container',
  agent: 'agent',
  facts: 'facts',
};

/** A line each for what has a name of its own, then the packages, security fixes apart. */
export function renderDifference(difference: LockDifference): string {
  const { moves, added, removed, changed, bytes } = difference;
  if (moves.length + added.length + removed.length + changed.length === 0) return '  nothing moved\n';
  const security = new Set(difference.security);
  const sections: readonly [title: string, lines: readonly string[]][] = [
    ['', renderMoves(moves)],
    [
      'security fixes',
      renderChanges({ ...difference, added: [], removed: [] }, (name) => security.has(name)),
    ],
    ['other packages', renderChanges(difference, (name) => !security.has(name))],
    [
      '',
      bytes.from === bytes.to
        ? []
        : [`  to fetch, in all: ${mebibytes(bytes.from)} → ${mebibytes(bytes.to)}`],
    ],
  ];
  return sections
    .filter(([, lines]) => lines.length > 0)
    .map(
      ([title, lines]) =>
        `${title === '' ? '' : `  ${title} (${lines.length})\n`}${shorten(lines).join('\n')}\n`,
    )
    .join('');
}

/** `+ name version`, `- name version`, `~ name from → to`, in that order. */
export function renderPackageChanges(changes: LockChanges): readonly string[] {
  const lines = [
    ...changes.added.map((item) => `  + ${item.name} ${item.version}`),
    ...changes.removed.map((item) => `  - ${item.name} ${item.version}`),
    ...changes.changed.map((item) => `  ~ ${item.name} ${item.from} → ${item.to}`),
  ];
  return shorten(lines);
}

function renderMoves(moves: readonly Move[]): string[] {
  const titles = moves.map(({ what, name }) => {
    const isOneOfMany = ['runtime', 'container', 'model', 'modules'].includes(what);
    return `${TITLES[what]}${isOneOfMany ? ` ${name}` : ''}`;
  });
  const width = Math.max(...titles.map((title) => title.length));
  return moves.map(({ from, to }, index) => {
    const title = `  ${(titles[index] ?? '').padEnd(width)}`;
    if (from === undefined) return `${title}  + ${to ?? ''}`;
    return to === undefined ? `${title}  - ${from}` : `${title}  ${from} → ${to}`;
  });
}

function renderChanges(difference: LockDifference, shown: (name: string) => boolean): string[] {
  const older = new Set(difference.older);
  const remark = ({ name, from, to }: LockChanges['changed'][0]): string =>
    older.has(name) ? ' (older)' : from === to ? ' (same version, other content)' : '';
  return [
    ...difference.added.map((item) => `    + ${item.name} ${item.version}`),
    ...difference.removed.map((item) => `    - ${item.name} ${item.version}`),
    ...difference.changed
      .filter(({ name }) => shown(name))
      .map((item) => `    ~ ${item.name} ${item.from} → ${item.to}${remark(item)}`),
  ];
}

function shorten(lines: readonly string[]): readonly string[] {
  const rest = lines.length - SHOWN_CHANGES;
  return rest > 0 ? [...lines.slice(0, SHOWN_CHANGES), `  and ${rest} more`] : lines;
}

function mebibytes(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

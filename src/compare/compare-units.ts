/** What becomes of services, as the files of systemd's folders tell: systemd.unit(5), systemctl(1) enable. Pure. */
import type { FileState } from './image-summary.ts';
import type { FileChange } from './stack-layers.ts';

export interface UnitChange {
  readonly name: string;
  /** Best known first: a unit that comes and is enabled is `added`, `enabled`. */
  readonly changes: readonly (
    'added' | 'removed' | 'changed' | 'enabled' | 'disabled' | 'masked' | 'unmasked'
  )[];
}

const FOLDER = /^(?:usr\/)?(?:etc|lib)\/systemd\/system\/(?:([^/]+)\.(wants|requires|upholds)\/)?([^/]+)$/;
const UNIT = /\.(?:service|socket|timer|target|mount|automount|swap|path|slice|device|scope)$/;

/** In name order. */
export function compareUnits(changes: readonly FileChange[]): UnitChange[] {
  const found = new Map<string, Set<UnitChange['changes'][number]>>();
  const say = (name: string, change: UnitChange['changes'][number]): void => {
    const known = found.get(name) ?? new Set();
    known.add(change);
    found.set(name, known);
  };
  for (const { path, from, to } of changes) {
    const [, wanting, , name] = FOLDER.exec(path) ?? [];
    if (name === undefined || !UNIT.test(name)) continue;
    const isOurs = /^(?:usr\/)?etc\//.test(path);
    if (wanting !== undefined) {
      // A unit's own package may order it below /usr/lib: that is no setting of the image.
      if (isOurs && (from === undefined) !== (to === undefined)) {
        say(name, to === undefined ? 'disabled' : 'enabled');
      }
      continue;
    }
    const [wasMasked, isMasked] = [isMask(from), isMask(to)];
    if (wasMasked !== isMasked) {
      say(name, isMasked ? 'masked' : 'unmasked');
    } else if (isLink(from) || isLink(to)) {
      // An alias: `display-manager.service` stands for the unit that it leads to.
      if (isOurs && !isMasked && (from === undefined) !== (to === undefined)) {
        say(name, to === undefined ? 'disabled' : 'enabled');
      }
    } else {
      say(name, from === undefined ? 'added' : to === undefined ? 'removed' : 'changed');
    }
  }
  const order = ['added', 'removed', 'changed', 'enabled', 'disabled', 'masked', 'unmasked'] as const;
  return [...found]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, set]) => ({ name, changes: order.filter((change) => set.has(change)) }));
}

function isLink(state: FileState | undefined): boolean {
  return state?.type === 'symlink';
}

function isMask(state: FileState | undefined): boolean {
  return isLink(state) && state?.content === '/dev/null';
}

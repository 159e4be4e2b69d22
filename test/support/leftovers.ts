/** What is left in a store that several work in at once. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Folders in a store's tmp/ that were made for `prefix` by a process that has ended: what it forgot. Names are
 * `PREFIX-PID-…`, as `Store.scratch` makes them.
 */
export function leftBehind(store: string, prefix: string): string[] {
  return readdirSync(join(store, 'tmp')).filter((name) => {
    const [, what, pid = ''] = /^(.+)-(\d+)-[^-]+$/.exec(name) ?? [];
    return what === prefix && !existsSync(`/proc/${pid}`);
  });
}

/** A disk as it was at points of its log, one after the other. */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../../../src/proc/run.ts';
import { type CrashPoint, unflushed, wholeUntil } from './crash-points.ts';
import { type LogEntry, readWriteLog } from './write-log.ts';

export interface Region {
  readonly offset: number;
  readonly size: number;
}

export class CrashImage implements AsyncDisposable {
  readonly entries: readonly LogEntry[];
  readonly #log: FileHandle;
  readonly #current: FileHandle;
  readonly #folder: string;
  /** Entries that `#current` has; it only ever goes forward. */
  #applied = 0;

  private constructor(log: FileHandle, entries: readonly LogEntry[], current: FileHandle, folder: string) {
    this.#log = log;
    this.entries = entries;
    this.#current = current;
    this.#folder = folder;
  }

  /** @param before the disk when the log began; @param folder for two copies of it */
  static async open(before: string, log: string, folder: string): Promise<CrashImage> {
    const path = join(folder, 'current.raw');
    await copySparse(before, path);
    const file = await open(log);
    return new CrashImage(file, await readWriteLog(file), await open(path, 'r+'), folder);
  }

  /** Writes `point.raw`, which the caller may change. Points must come as they are ordered. */
  async rebuild(point: CrashPoint): Promise<void> {
    const { at, lost } = point;
    const first = wholeUntil(point);
    if (first < this.#applied) throw new Error('a disk does not go back');
    while (this.#applied < first) await this.#apply(this.#applied++, this.#current);
    const path = join(this.#folder, 'point.raw');
    await copySparse(join(this.#folder, 'current.raw'), path);
    const file = await open(path, 'r+');
    try {
      for (let index = first; index < at; index++) await this.#apply(index, file, lost.get(index));
    } finally {
      await file.close();
    }
  }

  /** Two points with the same key have the same bits in `region`. */
  keyOf({ at, lost }: CrashPoint, region: Region): string {
    const touches = (index: number): boolean => {
      const { offset, length } = this.entries[index] ?? { offset: 0, length: 0 };
      return length > 0 && offset < region.offset + region.size && offset + length > region.offset;
    };
    const open = unflushed(this.entries, at);
    const settled = this.entries.findLastIndex((_, index) => index < at - open.length && touches(index));
    return [settled, ...open.filter(touches).map((index) => `${index}:${lost.get(index) ?? ''}`)].join(',');
  }

  async #apply(index: number, target: FileHandle, keptBytes?: number): Promise<void> {
    const entry = this.entries[index];
    const length = keptBytes ?? entry?.length ?? 0;
    if (entry === undefined || length === 0) return;
    const bytes = Buffer.alloc(length);
    if (!entry.isDiscard) await this.#log.read(bytes, 0, length, entry.content);
    await target.write(bytes, 0, bytes.length, entry.offset);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log.close();
    await this.#current.close();
    for (const name of ['current.raw', 'point.raw']) await rm(join(this.#folder, name), { force: true });
  }
}

/** Holes stay holes. */
async function copySparse(from: string, to: string): Promise<void> {
  await run(['cp', '--sparse=auto', from, to]);
}

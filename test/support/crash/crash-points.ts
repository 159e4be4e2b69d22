/** Moments at which a disk may have lost its power, and how much of what was written it kept. */
import type { Partitions } from './judge-disk.ts';
import type { Region } from './crash-image.ts';
import { type LogEntry, SECTOR } from './write-log.ts';

/** Where ext4 begins: its first superblock is this far inside, and as large. */
const SUPERBLOCK_BYTES = 1024;

export interface CrashPoint {
  /** The power went after this many entries of the log. */
  readonly at: number;
  /**
   * Entries behind the last flush that did not reach the disk, and how many bytes of their beginning did. What was
   * flushed always did; of the rest, a disk may have kept any part, in any order. It tears no sector.
   */
  readonly lost: ReadonlyMap<number, number>;
}

/** Chance that can be repeated: Mulberry32, by Tommy Ettinger (public domain). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * What a sector is only half of: of a superblock of which one half is new the checksum is wrong, and neither does the
 * kernel mount it nor `e2fsck -p` mend it by itself.
 */
export function superblocks({ boot, root }: Partitions): Region[] {
  return [boot, root].map(({ offset }) => ({ offset: offset + SUPERBLOCK_BYTES, size: SUPERBLOCK_BYTES }));
}

export interface CrashPointOptions {
  /** Entries of the log. */
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * `count` points among the entries from `from` up to `to`, ordered by what is whole in them: half of them keep everything,
 * half lose a random half of what was not flushed. Right behind each flush is where the next step begins, so a third
 * lies there.
 */
export function chooseCrashPoints(
  entries: readonly LogEntry[],
  { from, to, count }: CrashPointOptions,
  random: () => number,
): CrashPoint[] {
  const flushes = entries.flatMap(({ isFlush }, index) =>
    isFlush && index >= from && index < to ? [index + 1] : [],
  );
  const pick = (): number => {
    const flush = flushes[Math.floor(random() * flushes.length)];
    return flush !== undefined && random() < 1 / 3 ? flush : from + Math.floor(random() * (to - from + 1));
  };
  return Array.from({ length: count }, () => {
    const at = pick();
    const lost = random() < 0.5 ? unflushed(entries, at).filter(() => random() < 0.5) : [];
    const keptOf = (index: number): number => {
      const { length } = entries[index] ?? { length: 0 };
      return random() < 0.5 ? 0 : Math.floor(random() * (length / SECTOR)) * SECTOR;
    };
    return { at, lost: new Map(lost.map((index) => [index, keptOf(index)])) };
  }).sort((one, other) => wholeUntil(one) - wholeUntil(other));
}

/** Every entry before this one is on the disk. */
export function wholeUntil({ at, lost }: CrashPoint): number {
  return Math.min(at, ...lost.keys());
}

/** Writes before `at` that no flush made durable. */
export function unflushed(entries: readonly LogEntry[], at: number): number[] {
  const flushed = entries.findLastIndex(({ isFlush }, index) => index < at && isFlush);
  return Array.from({ length: at - flushed - 1 }, (_, index) => flushed + 1 + index);
}

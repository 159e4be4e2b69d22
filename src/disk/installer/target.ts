/** Which of a machine's disks is meant. Pure. Where a rule fits several, nobody guesses. */
import * as z from 'zod';

import { IngotError } from '../../errors.ts';
import { formatBytes } from '../../report/format.ts';

export const TargetRule = z.discriminatedUnion('by', [
  /** The one disk that is there. */
  z.strictObject({ by: z.literal('only') }),
  /** A device node, best one of /dev/disk/by-id. */
  z.strictObject({ by: z.literal('path'), path: z.string().regex(/^\/dev\/[^\0]+$/) }),
  z.strictObject({ by: z.literal('serial'), serial: z.string().min(1) }),
  /** Bytes, both ends included. */
  z.strictObject({ by: z.literal('size'), from: z.int(), to: z.int().optional() }),
]);
export type TargetRule = z.infer<typeof TargetRule>;

export interface Disk {
  /** Of the kernel, such as `nvme0n1`. */
  readonly name: string;
  /** Every path of it: `/dev/NAME`, and links below /dev/disk. */
  readonly paths: readonly string[];
  readonly size: number;
  readonly sectorBytes: number;
  readonly serial?: string;
  readonly model?: string;
  /** A stick or a card. */
  readonly isRemovable: boolean;
  /** Holds what the machine was started from. */
  readonly isMedium: boolean;
}

export function describeDisk({ name, size, model, serial }: Disk): string {
  const known = [formatBytes(size), model, serial === undefined ? undefined : `serial ${serial}`];
  return `/dev/${name} (${known.filter((part) => part !== undefined).join(', ')})`;
}

export function describeRule(rule: TargetRule): string {
  switch (rule.by) {
    case 'only':
      return 'the only disk';
    case 'path':
      return rule.path;
    case 'serial':
      return `the disk with the serial number ${rule.serial}`;
    case 'size': {
      const from = `of ${formatBytes(rule.from)}`;
      return rule.to === undefined
        ? `the disk ${from} or more`
        : `the disk ${from} to ${formatBytes(rule.to)}`;
    }
  }
}

/**
 * The disk that `rule` means. Sticks and cards are meant only when they are named.
 *
 * @throws IngotError INSTALL_REFUSED when it fits none, or more than one
 */
export function chooseDisk(disks: readonly Disk[], rule: TargetRule): Disk {
  const candidates = disks.filter(({ isMedium }) => !isMedium);
  const fitting = candidates.filter((disk) => fits(disk, rule));
  const [chosen] = fitting;
  if (chosen !== undefined && fitting.length === 1) return chosen;
  const there = candidates.length === 0 ? 'no disk is there' : candidates.map(describeDisk).join('; ');
  if (chosen !== undefined) {
    throw new IngotError('INSTALL_REFUSED', `${describeRule(rule)} could be any of ${fitting.length}`, {
      hint: `name one by its serial number or its path in /dev/disk/by-id: ${there}`,
    });
  }
  const onMedium = rule.by !== 'only' && disks.some((disk) => disk.isMedium && fits(disk, rule));
  throw new IngotError(
    'INSTALL_REFUSED',
    onMedium
      ? `${describeRule(rule)} is what this machine was started from`
      : `${describeRule(rule)} is not in this machine`,
    { hint: `there is: ${there}` },
  );
}

function fits(disk: Disk, rule: TargetRule): boolean {
  switch (rule.by) {
    case 'only':
      return !disk.isRemovable;
    case 'path':
      return disk.paths.includes(rule.path);
    case 'serial':
      return disk.serial === rule.serial;
    case 'size':
      return !disk.isRemovable && disk.size >= rule.from && disk.size <= (rule.to ?? Infinity);
  }
}

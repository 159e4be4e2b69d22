/** sfdisk (util-linux): writes GPT partition tables. Manual: sfdisk(8). */
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

export const SECTOR_BYTES = 512;

export interface GptPartition {
  readonly name: string;
  /** Type GUID. */
  readonly type: string;
  /** Unique GUID. */
  readonly uuid: string;
  /** Bytes; whole sectors. */
  readonly offset: number;
  readonly size: number;
}

export interface GptTable {
  readonly uuid: string;
  readonly partitions: readonly GptPartition[];
}

/** The script that sfdisk reads from its standard input. */
export function renderSfdiskScript(table: GptTable): string {
  const lines = ['label: gpt', `label-id: ${table.uuid.toUpperCase()}`, 'unit: sectors', ''];
  for (const { name, type, uuid, offset, size } of table.partitions) {
    lines.push(
      `start=${offset / SECTOR_BYTES}, size=${size / SECTOR_BYTES}, type=${type.toUpperCase()}, ` +
        `uuid=${uuid.toUpperCase()}, name="${name}"`,
    );
  }
  return `${lines.join('\n')}\n`;
}

export function sfdiskWriteArgv(file: string): Argv {
  return ['sfdisk', '--quiet', '--no-reread', '--no-tell-kernel', file];
}

export function sfdiskReadArgv(file: string): Argv {
  return ['sfdisk', '--json', file];
}

const SfdiskJson = z.object({
  partitiontable: z.object({
    label: z.literal('gpt'),
    id: z.string(),
    sectorsize: z.literal(SECTOR_BYTES),
    partitions: z.array(
      z.object({
        start: z.int(),
        size: z.int(),
        type: z.string(),
        uuid: z.string(),
        name: z.string().default(''),
      }),
    ),
  }),
});

/** Parses `sfdisk --json`. */
export function parseSfdiskJson(text: string): GptTable {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new IngotError('DISK_FAILED', 'sfdisk printed something that is not JSON', { cause: error });
  }
  const parsed = SfdiskJson.safeParse(value);
  if (!parsed.success) {
    throw new IngotError('DISK_FAILED', 'the disk has no GPT with 512-byte sectors', { cause: parsed.error });
  }
  const table = parsed.data.partitiontable;
  return {
    uuid: table.id,
    partitions: table.partitions.map(({ name, type, uuid, start, size }) => ({
      name,
      type,
      uuid,
      offset: start * SECTOR_BYTES,
      size: size * SECTOR_BYTES,
    })),
  };
}

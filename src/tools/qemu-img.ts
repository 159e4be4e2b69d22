/** qemu-img 10. Manual: qemu-img(1). */
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

export type DiskFormat = 'raw' | 'qcow2';

/** Writes `target` anew from a raw image; runs of zeros take no space. */
export function qemuImgConvertArgv(source: string, target: string, format: DiskFormat): Argv {
  return ['qemu-img', 'convert', '-f', 'raw', '-O', format, source, target];
}

/**
 * An empty qcow2 image of `size` bytes for the writes to `base`. Its header names the base for whoever opens it
 * later; `-u` because the base need not be visible while it is made.
 */
export function qemuImgCreateOverlayArgv(
  file: string,
  size: number,
  base: { readonly path: string; readonly format: DiskFormat },
): Argv {
  return [
    ...(['qemu-img', 'create', '-q', '-u', '-f', 'qcow2'] as const),
    ...['-b', base.path, '-F', base.format, file, String(size)],
  ];
}

export function qemuImgInfoArgv(file: string): Argv {
  return ['qemu-img', 'info', '--output=json', file];
}

const ImageInfo = z.object({ format: z.string(), 'virtual-size': z.int() });

/** Parses `qemuImgInfoArgv`. @throws IngotError DISK_FAILED for a format that is neither raw nor qcow2. */
export function parseImageInfo(stdout: string): { readonly format: DiskFormat; readonly size: number } {
  const { format, 'virtual-size': size } = ImageInfo.parse(JSON.parse(stdout));
  if (format !== 'raw' && format !== 'qcow2') {
    throw new IngotError('DISK_FAILED', `disks of format ${format} are not supported`, {
      hint: 'use a raw or qcow2 disk',
    });
  }
  return { format, size };
}

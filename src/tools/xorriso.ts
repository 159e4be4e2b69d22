/** xorriso 1.5: writes ISO 9660 images. Manual: xorrisofs(1). */
import type { Argv } from '../proc/run.ts';

export interface IsoOptions {
  /** Folder whose content becomes the root of the file system. */
  readonly tree: string;
  readonly output: string;
  /** At most 32 letters, digits and `_`, in upper case. */
  readonly volume: string;
  /** A FAT image with the boot loader. */
  readonly efiImage: string;
}

const ESP_TYPE = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B';

/**
 * A hybrid: the FAT image lies behind the ISO 9660 file system once, and is both the El Torito boot image that firmware
 * starts from a CD and the EFI system partition of a GPT that it starts from a stick.
 */
export function xorrisoArgv(options: IsoOptions): Argv {
  return [
    ...(['xorriso', '-no_rc', '-as', 'mkisofs', '-quiet'] as const),
    ...['-o', options.output, '-V', options.volume],
    ...['-iso-level', '3'], // files of 4 GiB and more, in several extents
    '-R',
    ...['-partition_cyl_align', 'off', '-partition_offset', '0'],
    ...['-append_partition', '2', ESP_TYPE, options.efiImage, '-appended_part_as_gpt'],
    ...['-eltorito-platform', 'efi', '-e', '--interval:appended_partition_2:all::', '-no-emul-boot'],
    options.tree,
  ];
}

/** Describes boot images and partitions of an image. */
export function xorrisoReportArgv(file: string): Argv {
  return [
    ...(['xorriso', '-no_rc', '-indev', file] as const),
    ...['-report_el_torito', 'plain', '-report_system_area', 'plain'],
  ];
}

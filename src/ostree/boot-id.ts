/** What tells one deployment of one image from every other, on the kernel command line and in GRUB's environment. */
import { type Digest, hexOf } from '../digest.ts';

export const BOOT_ID = 'ingot.id';

/** Letters, digits and a dash: GRUB's menu takes an id for none that has anything else in it. */
export function bootIdOf(image: Digest, now: Date): string {
  return `${hexOf(image).slice(0, 12)}-${Math.floor(now.getTime() / 1000)}`;
}

/** What the seal puts into an image so that its node knows which image comes next, and whose it must be. */
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { hostPolicyFiles } from '../trust/host-policy.ts';
import type { PlannedText } from './plan.ts';

export function updateFiles({ update }: NodeImage, { containers = [] }: Lock): readonly PlannedText[] {
  if (update === undefined) return [];
  const place = { mode: 0o644, user: 'root', group: 'root' };
  // By the digest that was signed, and by that of the image itself, which bootc pulls where it is bound.
  const pinned = containers.flatMap(({ image, digest, manifest = digest }) =>
    [...new Set([digest, manifest])].map((one) => ({ image, digest: one })),
  );
  return hostPolicyFiles(update, pinned).map((file) => ({ ...file, ...place }));
}

/** What the seal puts into an image so that its node knows which image comes next, and whose it must be. */
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { hostPolicyFiles } from '../trust/host-policy.ts';
import type { PlannedText } from './plan.ts';
import { updateUnitFiles } from './update-units.ts';

export function updateFiles({ update }: NodeImage, { containers = [] }: Lock): readonly PlannedText[] {
  if (update === undefined) return [];
  const place = { mode: 0o644, user: 'root', group: 'root' };
  const units = update.unattended === undefined ? [] : updateUnitFiles(update.unattended);
  return [...hostPolicyFiles(update, containers), ...units].map((file) => ({ ...file, ...place }));
}

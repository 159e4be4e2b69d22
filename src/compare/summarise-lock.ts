/** What a lock tells of its image. Pure. */
import { formatOf, sourceNameOf } from '../packages/package.ts';
import { boundOf } from '../plan/bound.ts';
import { factsOfLock } from '../plan/image-facts.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import type { ImageSummary } from './image-summary.ts';

/** Where a node sees them is the declaration's to say, and nothing to compare. */
function modelsOf({ models = [] }: Lock): Pick<NodeImage, 'models'> {
  return { models: models.map(({ name, artifact }) => ({ name, artifact, path: '' })) };
}

export function summariseLock(lock: Lock, shown: string): ImageSummary {
  return {
    kind: 'lock',
    shown,
    name: lock.variant === undefined ? lock.name : `${lock.name}@${lock.variant}`,
    version: lock.version,
    facts: { ...factsOfLock(lock), bound: boundOf(lock, modelsOf(lock)) },
    modules: (lock.modules ?? []).map(({ source }) => `${source.name} ${source.version}`),
    packages: imagePackages(lock).map(({ name, version, sha256, size, filename, archive }) => ({
      name,
      version,
      ...(formatOf({ filename }) === 'rpm' && { format: 'rpm' as const }),
      source: sourceNameOf({ name, filename }),
      sha256,
      bytes: size,
      ...(/(?:^|-)security$/.test(archive) && { security: true }),
    })),
  };
}

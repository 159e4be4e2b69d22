/** What belongs to an image that is offered, and to the deployments that are there. */
import { IngotError } from '../../errors.ts';
import { BOUND_ANNOTATION, type BoundContent, parseBound } from '../../plan/bound.ts';
import type { Deployment, OfferedImage } from '../engine.ts';
import { type BoundStore, type CollectedBound, NOTHING_BOUND } from './bound-store.ts';

/** @throws IngotError UPDATE_REFUSED for an image that says it in a way that this Ingot does not know */
export function boundOfOffer({
  manifest,
  reference,
}: Pick<OfferedImage, 'manifest' | 'reference'>): BoundContent {
  const text = manifest.annotations?.[BOUND_ANNOTATION];
  if (text === undefined) return NOTHING_BOUND;
  const content = parseBound(text);
  if (content !== undefined) return content;
  throw new IngotError(
    'UPDATE_REFUSED',
    `${reference} says of its containers and models what this version of Ingot cannot read`,
    { hint: `look at its annotation ${BOUND_ANNOTATION}; an image in between may bring a newer Ingot` },
  );
}

/** Removes what neither a deployment needs nor one of `more`. */
export async function collectBound(
  store: BoundStore,
  deployments: readonly Deployment[],
  more: readonly BoundContent[] = [],
): Promise<CollectedBound> {
  return store.collect([...deployments.flatMap(({ facts }) => facts.bound ?? []), ...more]);
}

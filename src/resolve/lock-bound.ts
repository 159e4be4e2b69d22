/** Containers and models in a lock: which entries hold for a declaration, and which are to be found anew. Pure. */
import type { NodeImage } from '../spec/node-image.ts';
import type { Lock, LockedContainer, LockedModel } from './lock.ts';

/** What a lock says of containers that are declared, and of models; members for what there is. */
export type LockedBound = Pick<Lock, 'containers' | 'models'>;

/** A name in a registry, taken apart. */
export interface BoundName {
  /** Registry and repository. */
  readonly place: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** @param text as the schema of declarations has it */
export function splitReference(text: string): BoundName {
  const [, place = '', tag, digest] = /^(.+?)(?::(\w[\w.-]*))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(text) ?? [];
  return { place, tag, digest };
}

/** The container's entry of an earlier lock, when it is of the same name and still what was asked for. */
export function keptContainer(
  previous: Lock | undefined,
  name: string,
  image: string,
  architecture: string,
): LockedContainer | undefined {
  if (previous?.base.architecture !== architecture) return undefined;
  const found = previous.containers?.find((one) => one.name === name && one.layer === undefined);
  return found?.manifest !== undefined && isSame(found.image, found, image) ? found : undefined;
}

export function keptModel(
  previous: Lock | undefined,
  name: string,
  artifact: string,
): LockedModel | undefined {
  const found = previous?.models?.find((one) => one.name === name);
  return found !== undefined && isSame(found.artifact, found, artifact) ? found : undefined;
}

function isSame(
  place: string,
  { tag, digest }: Pick<LockedModel, 'tag' | 'digest'>,
  reference: string,
): boolean {
  const wanted = splitReference(reference);
  return place === wanted.place && tag === wanted.tag && (wanted.digest ?? digest) === digest;
}

/** What no lock says that Ingot wrote for this declaration. */
export function boundOddities(lock: Lock, image: NodeImage): readonly string[] {
  const found: string[] = [];
  const { architecture } = lock.base;
  for (const { name, image: reference } of image.containers ?? []) {
    if (keptContainer(lock, name, reference, architecture) === undefined)
      found.push(`it lacks the container ${name}`);
  }
  for (const { name, artifact } of image.models ?? []) {
    if (keptModel(lock, name, artifact) === undefined) found.push(`it lacks the model ${name}`);
  }
  const declared = new Set(image.containers?.map(({ name }) => name));
  for (const { name, layer, manifest } of lock.containers ?? []) {
    if (layer === undefined && !declared.has(name))
      found.push(`it has the container ${name}, which is not declared`);
    // Those of layers came before an agent did.
    if (layer !== undefined && image.agent !== undefined && manifest === undefined) {
      found.push(`it does not say what the container ${name} is made of`);
    }
  }
  const models = new Set(image.models?.map(({ name }) => name));
  for (const { name } of lock.models ?? []) {
    if (!models.has(name)) found.push(`it has the model ${name}, which is not declared`);
  }
  return found;
}

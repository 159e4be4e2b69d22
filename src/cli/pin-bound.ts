/** Finds what the containers and models of a declaration are now, or keeps what the lock has of them. */
import { FindingsError, type Finding, IngotError } from '../errors.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import { parseImageReference } from '../oci/reference.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { readContainer, readModel } from '../publish/read-bound.ts';
import type { Reporter } from '../report/events.ts';
import { formatBytes } from '../report/format.ts';
import { keptContainer, keptModel, type LockedBound, splitReference } from '../resolve/lock-bound.ts';
import type { Lock, LockedContainer, LockedModel } from '../resolve/lock.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import type { Updates } from './package-requests.ts';

export interface PinOptions {
  readonly registries: () => Promise<RegistryAccess>;
  readonly reporter: Reporter;
  /** Asks no registry: what the lock does not have is refused. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @param ofLayers containers that layers of the catalogue bring, by digest
 * @throws FindingsError with everything that cannot be found, each at its place; IngotError INTERRUPTED
 */
export async function pinBound(
  { image, sources }: ParsedSpec,
  ofLayers: readonly LockedContainer[],
  previous: Lock | undefined,
  updates: Updates,
  options: PinOptions,
): Promise<LockedBound> {
  const { containers: declared = [], models: wantedModels = [], architecture, agent } = image;
  // Without an agent nothing pulls them before a restart: the node's Podman does when they start.
  if (agent === undefined) return ofLayers.length === 0 ? {} : { containers: [...ofLayers] };
  const isKept = (name: string): boolean => updates === 'none' || (updates !== 'all' && !updates.has(name));
  const finder = new Finder(options);
  const containers: LockedContainer[] = [];
  const models: LockedModel[] = [];
  for (const one of ofLayers) {
    const path = ['runtimes', (image.runtimes ?? []).findIndex(({ digest }) => digest === one.digest)];
    await finder.attempt(sources.at(path), async () => {
      const kept = previous?.containers?.find(
        ({ name, image: place, digest, manifest }) =>
          name === one.name && place === one.image && digest === one.digest && manifest !== undefined,
      );
      const { layer, name, image: place, tag } = one;
      const found = { name, image: place, ...(tag !== undefined && { tag }) };
      containers.push({
        ...(layer !== undefined && { layer }),
        ...(kept ?? (await finder.container(found, one.digest, architecture))),
      });
    });
  }
  for (const [index, { name, image: reference }] of declared.entries()) {
    const kept = isKept(name) ? keptContainer(previous, name, reference, architecture) : undefined;
    await finder.attempt(sources.at(['containers', index]), async () => {
      const { place, tag, digest } = splitReference(reference);
      const found = { name, image: place, ...(tag !== undefined && { tag }) };
      containers.push(kept ?? (await finder.container(found, digest ?? tag ?? '', architecture)));
    });
  }
  for (const [index, { name, artifact: reference }] of wantedModels.entries()) {
    const kept = isKept(name) ? keptModel(previous, name, reference) : undefined;
    await finder.attempt(sources.at(['models', index]), async () => {
      const { place, tag, digest } = splitReference(reference);
      const found = { name, artifact: place, ...(tag !== undefined && { tag }) };
      models.push(kept ?? (await finder.model(found, digest ?? tag ?? '')));
    });
  }
  if (finder.findings.length > 0) throw new FindingsError(finder.findings);
  return { ...(containers.length > 0 && { containers }), ...(models.length > 0 && { models }) };
}

class Finder {
  readonly findings: Finding[] = [];
  readonly #options: PinOptions;

  constructor(options: PinOptions) {
    this.#options = options;
  }

  /** Looks for the next one too when this one cannot be found. */
  async attempt(location: Finding['location'], work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
      const { code, message, hint } = error;
      this.findings.push({
        code,
        severity: 'error',
        message: hint === undefined ? message : `${message} (${hint})`,
        ...(location !== undefined && { location }),
      });
    }
  }

  async container(
    named: Pick<LockedContainer, 'name' | 'image' | 'tag'>,
    wanted: string,
    architecture: string,
  ): Promise<LockedContainer> {
    const { signal } = this.#options;
    return this.#read(`container ${named.name}`, named.image, wanted, async (source) => {
      const { digest, manifest, blobs } = await readContainer(source, wanted, architecture, { signal });
      return { ...named, digest, manifest, blobs: [...blobs] };
    });
  }

  async model(named: Pick<LockedModel, 'name' | 'artifact' | 'tag'>, wanted: string): Promise<LockedModel> {
    const { signal } = this.#options;
    return this.#read(`model ${named.name}`, named.artifact, wanted, async (source) => {
      const { digest, files } = await readModel(source, wanted, { signal });
      return {
        ...named,
        digest,
        files: files.map(({ name, digest: own, size }) => ({ name, digest: own, size })),
      };
    });
  }

  async #read<
    T extends { readonly blobs?: readonly { size: number }[]; readonly files?: readonly { size: number }[] },
  >(what: string, place: string, wanted: string, read: (source: ImageSource) => Promise<T>): Promise<T> {
    const { reporter, registries, offline } = this.#options;
    if (offline === true) {
      throw new IngotError('NOT_FOUND', `the lock does not have the ${what}`, {
        hint: 'without --offline its registry is asked',
      });
    }
    return reporter.stage(`Look up ${what}`, async (stage) => {
      const access = await registries();
      await using source = access.source(
        parseImageReference(`${place}${wanted.includes(':') ? '@' : ':'}${wanted}`),
      );
      const found = await read(source);
      const bytes = [...(found.blobs ?? []), ...(found.files ?? [])].reduce((sum, { size }) => sum + size, 0);
      stage.detail(formatBytes(bytes));
      return found;
    });
  }
}

/** What this builder brings to images' bits besides its own code. */
import { makeAgent, type Agent } from '../agent/agent.ts';
import { DEFAULT_LEVEL } from '../build/archive/pack.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { digestOfJson } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { BuilderFacts } from '../resolve/check-lock.ts';
import type { Architecture, NodeImage, ParsedSpec } from '../spec/node-image.ts';

export interface BuilderFactsWithAgent extends BuilderFacts {
  /** With the bytes of its files. */
  readonly agent?: Agent;
}

export interface BuilderOptions {
  readonly productRoot: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What goes into one image or another; an agent is made once, and only for an image that asks for it.
 *
 * @throws IngotError CATALOG_INVALID without a tools definition; ENVIRONMENT when the agent cannot be made
 */
export class Builder {
  readonly #options: BuilderOptions;
  readonly #agents = new Map<Architecture, Promise<Agent>>();

  constructor(options: BuilderOptions) {
    this.#options = options;
  }

  async factsFor(image: NodeImage, catalog: LoadedCatalog): Promise<BuilderFactsWithAgent> {
    const agent = image.agent === undefined ? undefined : await this.#agentFor(image.architecture);
    return {
      compressor: { name: 'zstd', version: process.versions['zstd'] ?? 'none', level: DEFAULT_LEVEL },
      toolsDefinition: digestOfJson(requireTools(catalog)),
      ...(agent !== undefined && { agent }),
    };
  }

  async #agentFor(architecture: Architecture): Promise<Agent> {
    const { productRoot, signal } = this.#options;
    const made = this.#agents.get(architecture) ?? makeAgent(productRoot, architecture, signal);
    this.#agents.set(architecture, made);
    return made;
  }
}

export function requireTools(catalog: LoadedCatalog): NonNullable<LoadedCatalog['tools']> {
  if (catalog.tools !== undefined) return catalog.tools;
  throw new IngotError('CATALOG_INVALID', 'the catalogue has no tools.yaml', {
    hint: 'the product brings one in its folder layers/: is it installed whole?',
  });
}

/**
 * Of the machines that build: the tools root holds its programs for it, and package scripts run on it as they are.
 * Not asked of this machine, so that a lock is the same wherever it is made.
 */
export const BUILDER_ARCHITECTURE: Architecture = 'amd64';

/** @throws IngotError ARCHITECTURE_FOREIGN, before anything is fetched for an image that cannot be built */
export function requireBuildable({ image, sources }: ParsedSpec): void {
  const { architecture } = image;
  if (architecture === BUILDER_ARCHITECTURE) return;
  throw new IngotError(
    'ARCHITECTURE_FOREIGN',
    `the image is for ${architecture}, and this version builds images for ${BUILDER_ARCHITECTURE} alone`,
    {
      location: sources.at(['architecture']),
      hint: `validate, explain and lock work for ${architecture}; to build, take a declaration or a variant with arch: ${BUILDER_ARCHITECTURE}`,
    },
  );
}

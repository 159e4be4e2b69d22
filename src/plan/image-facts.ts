/**
 * What nodes, rollouts and schedulers ask of an image without pulling it: facts of its lock, as annotations of the
 * manifest and labels of the configuration. docs/architecture.md has the table. Pure.
 */
import * as z from 'zod';

import { canonicalJson } from '../digest.ts';
import { parseForeignJson } from '../oci/foreign-json.ts';
import { BOUND_ANNOTATION, type BoundContent, parseBound, renderBound } from './bound.ts';
import { LockedGpu, type Lock } from '../resolve/lock.ts';
import type { UpdateSource } from '../spec/update-schema.ts';
import { describePolicy } from '../trust/host-policy.ts';

export interface NamedVersion {
  readonly name: string;
  /** None for what comes with the kernel, or was not told. */
  readonly version?: string | undefined;
}

export interface ImageFacts {
  /** Such as `debian@13`. */
  readonly base?: string | undefined;
  readonly architecture?: string | undefined;
  readonly kernel?:
    | {
        readonly release: string;
        readonly version?: string | undefined;
        readonly flavour?: string | undefined;
      }
    | undefined;
  /** `modules` is `open` or `proprietary` where a driver has both kinds, and `kernel` where the kernel brings it. */
  readonly driver?: (NamedVersion & { readonly modules?: string | undefined }) | undefined;
  readonly cuda?: string | undefined;
  readonly runtimes?: readonly NamedVersion[] | undefined;
  /** What the image was declared for, with PCI ids. */
  readonly gpus?: readonly LockedGpu[] | undefined;
  /** Containers and models that belong to it. */
  readonly bound?: BoundContent | undefined;
  /** Where its nodes take the next image from, and what they take. */
  readonly update?: UpdateSource | undefined;
}

export function factsOfLock({ base, kernel, driver, cuda, runtimes = [], gpus = [] }: Lock): ImageFacts {
  return {
    base: `${base.name}@${base.release}`,
    architecture: base.architecture,
    ...(kernel.release !== '' && {
      kernel: {
        release: kernel.release,
        ...(kernel.version !== '' && { version: kernel.version }),
        flavour: kernel.flavour,
      },
    }),
    ...(driver !== undefined && {
      driver: {
        ...named(driver),
        modules: driver.modules ?? (driver.version === undefined ? 'kernel' : undefined),
      },
    }),
    ...(cuda !== undefined && { cuda: cuda.version ?? cuda.package }),
    ...(runtimes.length > 0 && { runtimes: runtimes.map(named) }),
    ...(gpus.length > 0 && { gpus }),
  };
}

/** Names and texts, for annotations and labels alike. Lists are canonical JSON. */
export function renderFacts(facts: ImageFacts): Readonly<Record<string, string>> {
  const { base, architecture, kernel, driver, cuda, runtimes, gpus, update, bound } = facts;
  const ids = [...new Set((gpus ?? []).flatMap(({ pci }) => pci))].sort();
  const entries: readonly (readonly [string, string | undefined])[] = [
    ['base', base],
    ['architecture', architecture],
    ['kernel', kernel?.release],
    ['kernel.version', kernel?.version],
    ['kernel.flavour', kernel?.flavour],
    ['driver', driver?.name],
    ['driver.version', driver?.version],
    ['driver.modules', driver?.modules],
    ['cuda', cuda],
    ['runtimes', runtimes === undefined ? undefined : canonicalJson(runtimes)],
    ['gpus', gpus === undefined ? undefined : canonicalJson(gpus)],
    ['pci', ids.length === 0 ? undefined : ids.join(',')],
    ['bound', bound === undefined ? undefined : renderBound(bound)],
    ['update', update?.source],
    [
      'update.policy',
      update?.policy === undefined ? undefined : canonicalJson(describePolicy(update.policy)),
    ],
  ];
  return Object.fromEntries(
    entries.flatMap(([name, text]) => (text === undefined ? [] : [[`dev.ingot.${name}`, text] as const])),
  );
}

/** The way back. Anybody may have written the image: what does not parse is left out. */
export function parseFacts(annotations: Readonly<Record<string, string>>): ImageFacts {
  const text = (name: string): string | undefined => annotations[`dev.ingot.${name}`];
  const release = text('kernel');
  const driver = text('driver');
  return {
    base: text('base'),
    architecture: text('architecture'),
    ...(release !== undefined && {
      kernel: { release, version: text('kernel.version'), flavour: text('kernel.flavour') },
    }),
    ...(driver !== undefined && {
      driver: { name: driver, version: text('driver.version'), modules: text('driver.modules') },
    }),
    cuda: text('cuda'),
    runtimes: parseForeignJson(
      text('runtimes'),
      z.array(z.object({ name: z.string(), version: z.string().optional() })),
    ),
    gpus: parseForeignJson(text('gpus'), z.array(LockedGpu)),
    bound: parseBound(annotations[BOUND_ANNOTATION]),
  };
}

function named({ name, version, package: packageVersion }: NonNullable<Lock['cuda']>): NamedVersion {
  const told = version ?? packageVersion;
  return { name, ...(told !== undefined && { version: told }) };
}

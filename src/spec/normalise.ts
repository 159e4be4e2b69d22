/** From the declaration as written to the NodeImage: short forms opened, defaults filled in. */
import { healthCheck } from './health-check.ts';
import { digestOfJson, type Digest } from '../digest.ts';
import type { ContainerInput } from './bound-schema.ts';
import {
  type ContainerRequest,
  type CudaRequest,
  type DriverRequest,
  IMAGE_BASE,
  type MigLayout,
  type ModelRequest,
  type NodeImage,
  OWN_KERNEL,
  USUAL_KERNEL,
  type RuntimeRequest,
} from './node-image.ts';
import { quadletImage, renderQuadlet } from './quadlet.ts';
import type { GpuUseInput, ModelInput, NodeImageInput, RuntimeInput } from './schema.ts';
import { normaliseUnattended } from './update-schema.ts';

export interface NormaliseOptions {
  readonly variant?: string | undefined;
  /** The release that a base means when none is named. */
  readonly defaultRelease?: ((base: string) => string | undefined) | undefined;
}

/** Undefined `release` means that none is named and the base has no default. */
export function baseOf(
  input: NodeImageInput['base'],
  defaultRelease: NormaliseOptions['defaultRelease'],
): { readonly name: string; readonly release: string | undefined } {
  if (typeof input === 'object' && 'image' in input) return { name: IMAGE_BASE, release: IMAGE_BASE };
  const [name = '', release] =
    typeof input === 'string' ? input.split('@', 2) : [input.use, input.release?.toString()];
  return { name, release: release ?? defaultRelease?.(name) };
}

/** `release` is the base's, already decided. */
export function normalise(input: NodeImageInput, release: string, options: NormaliseOptions): NodeImage {
  const image = typeof input.base === 'object' && 'image' in input.base ? input.base.image : undefined;
  const kernel = typeof input.kernel === 'string' ? { flavour: input.kernel } : input.kernel;
  return {
    name: input.name,
    ...defined({ version: input.version, variant: options.variant, summary: input.summary }),
    architecture: input.arch ?? 'amd64',
    base: { name: baseOf(input.base, undefined).name, release, ...defined({ image }) },
    kernel: {
      flavour: kernel?.flavour ?? (image === undefined ? USUAL_KERNEL : OWN_KERNEL),
      ...defined({ version: kernel?.version }),
    },
    ...defined({
      gpus: nonEmpty(input.gpus?.map((gpu) => (typeof gpu === 'string' ? gpu : gpu.use))),
      mig: nonEmpty(input.gpus?.flatMap(migOf)),
      driver: driverOf(input.driver),
      cuda: cudaOf(input.cuda),
      runtimes: nonEmpty(input.runtimes?.map(runtimeOf)),
      agent: agentOf(input.agent),
      containers: nonEmpty(input.containers?.map(containerOf)),
      models: nonEmpty(input.models?.map(modelOf)),
    }),
    addons: addonsOf(input),
    packages: input.packages ?? [],
    ...defined({ hostname: input.hostname }),
    groups: (input.groups ?? []).map(({ name, gid }) => ({ name, ...defined({ gid }) })),
    users: (input.users ?? []).map((user) => ({
      name: user.name,
      ...defined({ uid: user.uid }),
      gecos: user.gecos ?? '',
      shell: user.shell ?? '/bin/bash',
      groups: user.groups ?? [],
      sshKeys: user.sshKeys ?? [],
    })),
    files: (input.files ?? []).map((file) => ({
      path: file.path,
      content: file.content,
      mode: Number.parseInt(file.mode ?? '0644', 8),
      user: file.user ?? 'root',
      group: file.group ?? 'root',
    })),
    units: (input.units ?? []).map((unit) => ({
      name: unit.name,
      ...defined({ enabled: unit.enabled, content: unit.content }),
      masked: unit.masked ?? false,
    })),
    kernelArguments: input.kernelArguments ?? [],
    health: (input.health ?? []).map(({ timeout = '30s', ...check }) =>
      healthCheck({ ...check, timeoutSeconds: secondsOf(timeout) }),
    ),
    ...(input.update !== undefined && {
      update: {
        source: input.update.source,
        ...defined({
          tries: input.update.tries,
          unattended:
            input.update.unattended === undefined ? undefined : normaliseUnattended(input.update.unattended),
        }),
      },
    }),
  };
}

function driverOf(input: NodeImageInput['driver']): DriverRequest | undefined {
  if (input === undefined) return undefined;
  const { use, version, modules } = typeof input === 'string' ? named(input) : input;
  return { use, ...defined({ version: fixed(version) }), modules: modules ?? 'auto' };
}

function cudaOf(input: NodeImageInput['cuda']): CudaRequest | undefined {
  if (input === undefined) return undefined;
  const { version, compat, toolkit } =
    typeof input === 'string' ? { version: input, compat: undefined, toolkit: undefined } : input;
  return { ...defined({ version: fixed(version) }), compat: compat ?? false, toolkit: toolkit ?? false };
}

function migOf(input: GpuUseInput, gpu: number): readonly MigLayout[] {
  const devices = typeof input === 'string' ? {} : (input.mig ?? {});
  return Object.keys(devices).length === 0 ? [] : [{ gpu, devices }];
}

function runtimeOf(input: RuntimeInput): RuntimeRequest {
  const { use, version, digest, features } = typeof input === 'string' ? named(input) : input;
  return { use, ...defined({ version: fixed(version), digest, features: nonEmpty(features) }) };
}

/** The agent that `true` means. */
const DEFAULT_AGENT = 'ingot';

function agentOf(input: NodeImageInput['agent']): string | undefined {
  return typeof input === 'string' ? input : input === true ? DEFAULT_AGENT : undefined;
}

/** What runs containers comes with them. */
function addonsOf({ addons = [], containers = [] }: NodeImageInput): readonly string[] {
  return containers.length === 0 || addons.includes(PODMAN) ? addons : [...addons, PODMAN];
}

const PODMAN = 'podman';

function containerOf(input: ContainerInput): ContainerRequest {
  const { name, image, quadlet } = input;
  if (quadlet !== undefined) return { name, image: quadletImage(quadlet), quadlet };
  const written = image ?? '';
  return { name, image: written, quadlet: renderQuadlet({ ...input, image: written }) };
}

function modelOf({ name, artifact, path }: ModelInput): ModelRequest {
  return { name, artifact, path: path ?? `${MODELS}/${name}` };
}

/** Where models are when nothing else is said. */
const MODELS = '/usr/share/models';

interface Named {
  readonly use: string;
  readonly version: string | undefined;
  readonly modules?: undefined;
  readonly digest?: undefined;
  readonly features?: undefined;
}

/** `nvidia@550` or `nvidia`. */
function named(text: string): Named {
  const [use = '', version] = text.split('@', 2);
  return { use, version };
}

/** `auto` is as good as nothing. */
function fixed(version: string | undefined): string | undefined {
  return version === 'auto' ? undefined : version;
}

function nonEmpty<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}

/** `60s` or `2m` in seconds. */
export function secondsOf(duration: string): number {
  return Number.parseInt(duration, 10) * (duration.endsWith('m') ? 60 : 1);
}

/** Digest of the normalised declaration: a lock made for another one is stale. */
export function declarationDigest(image: NodeImage): Digest {
  return digestOfJson(image);
}

function defined<T extends object>(members: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}

/** Whether an image may take the place of the one that runs. Decides, and does nothing. */
import type { Digest } from '../digest.ts';
import type { Descriptor } from '../oci/schema.ts';
import { compareDebVersions, isDebVersion } from '../packages/deb-version.ts';
import { parseFacts } from '../plan/image-facts.ts';
import type { Deployment, OfferedImage } from './engine.ts';
import type { HostGpu } from './host-gpus.ts';

export interface Refusal {
  readonly kind: 'architecture' | 'agent' | 'gpu' | 'downgrade' | 'bad';
  readonly message: string;
  /** What lets it through all the same; undefined: nothing. */
  readonly flag: string | undefined;
}

export interface JudgeOptions {
  readonly booted: Pick<Deployment, 'version' | 'created' | 'facts' | 'reference' | 'digest' | 'layers'>;
  readonly gpus: readonly HostGpu[];
  /** As OCI names it: `amd64`. */
  readonly architecture: string;
  /** Images that came up and were not good. */
  readonly bad: ReadonlySet<Digest>;
  readonly allowDowngrade?: boolean | undefined;
  readonly force?: boolean | undefined;
}

/** As the layer engine names those of the kind. */
const AGENT_LAYERS = 'agent-';

/** Everything that speaks against the image, at once. */
export function judgeOffer(offer: OfferedImage, options: JudgeOptions): readonly Refusal[] {
  return [
    ...judgeArchitecture(offer, options),
    ...judgeAgent(offer, options),
    ...judgeGpus(offer, options),
    ...judgeVersion(offer, options),
    ...judgeHistory(offer, options),
  ];
}

function judgeArchitecture({ config }: OfferedImage, { architecture }: JudgeOptions): Refusal[] {
  if (config.os === 'linux' && config.architecture === architecture) return [];
  const message = `the image is for ${config.os}/${config.architecture}, and this machine is linux/${architecture}`;
  return [{ kind: 'architecture', message, flag: undefined }];
}

/**
 * Without the agent, the node would count down its tries of a system that may well be good, and go back. Known of
 * images that Ingot built alone: layers of other tools have no names.
 */
function judgeAgent({ manifest }: OfferedImage, { booted, force }: JudgeOptions): Refusal[] {
  const isBuiltByIngot = manifest.annotations?.['dev.ingot.lock'] !== undefined;
  if (force === true || !isBuiltByIngot || !hasAgent(booted.layers) || hasAgent(manifest.layers)) return [];
  const message = 'the image is without Ingot’s agent: nothing there would call it good, or update it again';
  return [{ kind: 'agent', message, flag: '--force' }];
}

function hasAgent(layers: readonly Descriptor[] | undefined): boolean {
  return (
    layers?.some(({ annotations }) => annotations?.['dev.ingot.layer']?.startsWith(AGENT_LAYERS)) === true
  );
}

/**
 * A GPU counts when the running image is for it, or when the offered one is for others of its maker: a display
 * controller on the mainboard is nothing that an image for accelerators must know.
 */
function judgeGpus({ manifest }: OfferedImage, { booted, gpus, force }: JudgeOptions): Refusal[] {
  const offered = idsOf(parseFacts(manifest.annotations ?? {}).gpus);
  const running = idsOf(booted.facts.gpus);
  const makers = new Set([...offered].map(makerOf));
  const lost = [...new Set(gpus.map(({ pci }) => pci))].filter(
    (pci) => !offered.has(pci) && (running.has(pci) || makers.has(makerOf(pci))),
  );
  if (lost.length === 0 || force === true) return [];
  const which = lost.join(', ');
  return [{ kind: 'gpu', message: `the image is not for this machine’s GPU ${which}`, flag: '--force' }];
}

function judgeVersion(offer: OfferedImage, { booted, allowDowngrade }: JudgeOptions): Refusal[] {
  if (allowDowngrade === true || booted.digest === offer.digest) return [];
  // Versions of two products have no order.
  if (booted.reference !== undefined && repositoryOf(booted.reference) !== repositoryOf(offer.reference))
    return [];
  const order = compareAges(
    { version: offer.version, created: createdOf(offer) },
    { version: booted.version, created: booted.created },
  );
  if (order === undefined || order >= 0) return [];
  const message = `the image’s version ${offer.version} is older than ${booted.version ?? 'what runs'}`;
  return [{ kind: 'downgrade', message, flag: '--allow-downgrade' }];
}

function judgeHistory({ digest }: OfferedImage, { bad, force }: JudgeOptions): Refusal[] {
  if (!bad.has(digest) || force === true) return [];
  const message = 'this very image was started here before and was not good: the node went back by itself';
  return [{ kind: 'bad', message, flag: '--force' }];
}

interface Age {
  readonly version: string | undefined;
  readonly created: number | undefined;
}

/** By version as Debian orders them; else by when they were made. Negative: the left one is older. */
export function compareAges(left: Age, right: Age): number | undefined {
  if (left.version !== undefined && right.version !== undefined) {
    if (left.version === right.version) return 0;
    if (isDebVersion(left.version) && isDebVersion(right.version)) {
      return compareDebVersions(left.version, right.version);
    }
  }
  return left.created === undefined || right.created === undefined ? undefined : left.created - right.created;
}

export function createdOf({ config }: Pick<OfferedImage, 'config'>): number | undefined {
  const time = Date.parse(config.created ?? '');
  return Number.isNaN(time) ? undefined : Math.floor(time / 1000);
}

function idsOf(gpus: Deployment['facts']['gpus']): ReadonlySet<string> {
  return new Set((gpus ?? []).flatMap(({ pci }) => pci));
}

function makerOf(pci: string): string {
  return pci.slice(0, 4);
}

/** `HOST/PATH` of `HOST/PATH:TAG`; of a layout or an archive, its path. */
function repositoryOf(reference: string): string {
  if (/^oci(?:-archive)?:/.test(reference)) return reference.split(':', 2).join(':');
  return reference.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
}

/** What the lock says of a base that is an image. Pure. */
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { OWN_KERNEL, type NodeImage } from '../spec/node-image.ts';
import type { Lock, LockedBaseImage } from './lock.ts';

/** A base image as it was found. */
export interface BaseInput {
  readonly reference: string;
  readonly digest: Digest;
  readonly facts: Pick<LockedBaseImage, 'family' | 'database' | 'layers'> & {
    readonly id: string;
    readonly release: string;
    readonly kernels: readonly string[];
    /** dpkg's, where it has one. */
    readonly status?: string | undefined;
  };
}

export function lockBase(
  { reference, digest, facts }: BaseInput,
  { architecture }: NodeImage,
  suite: string,
): Lock['base'] {
  const { id, release, family, database, layers } = facts;
  return {
    name: id,
    release,
    suite,
    architecture,
    image: {
      reference,
      digest,
      family,
      ...(database !== undefined && { database }),
      layers: layers.map((layer) => ({ ...layer })),
    },
  };
}

/** @throws IngotError IMAGE_UNREADABLE for a base with more than one kernel */
export function lockOwnKernel({ reference, facts }: BaseInput): Lock['kernel'] {
  const [release = '', ...more] = facts.kernels;
  if (more.length === 0)
    return { flavour: OWN_KERNEL, ...kernelPackage(facts.status ?? '', release), release };
  throw new IngotError(
    'IMAGE_UNREADABLE',
    `${reference} has more than one kernel: ${facts.kernels.join(', ')}`,
    {
      hint: 'a base has one kernel, or none and is no base for machines that boot',
    },
  );
}

/** Of Debian's kernels, whose packages are named for what `uname -r` says. */
function kernelPackage(
  status: string,
  release: string,
): { readonly package: string; readonly version: string } {
  const stanza = status
    .split(/\n{2,}/)
    .find((text) =>
      [`linux-image-${release}`, `linux-image-${release}-unsigned`].includes(field(text, 'Package')),
    );
  return stanza === undefined
    ? { package: '', version: '' }
    : { package: field(stanza, 'Package'), version: field(stanza, 'Version') };
}

function field(stanza: string, name: string): string {
  return new RegExp(`^${name}: *(.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? '';
}

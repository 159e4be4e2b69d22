/**
 * What the commit of an image says of it. Names are those of ostree-rs-ext, which bootc uses, where it has one, so that
 * either finds what the other wrote; `version` and `ostree.architecture` are libostree's own.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

import { type Digest, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { parseForeignJson } from '../oci/foreign-json.ts';
import { ImageConfig, Manifest } from '../oci/schema.ts';
import { readBranch } from './layer-record.ts';
import { objectPath, parseCommitTexts } from './tree/tree-objects.ts';

const KEYS = {
  digest: 'ostree.manifest-digest',
  manifest: 'ostree.manifest',
  config: 'ostree.container.image-config',
  kernelArguments: 'ingot.kernel-arguments',
} as const;

export interface CommittedImage {
  readonly version: string;
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
}

const KernelArguments = z.array(z.string());

export function renderCommitMetadata(
  image: CommittedImage,
  kernelArguments: readonly string[],
): Readonly<Record<string, string>> {
  const { version, digest, manifest, config } = image;
  const { history: _history, ...rest } = config;
  return {
    version,
    'ostree.architecture': config.architecture,
    [KEYS.digest]: digest,
    [KEYS.kernelArguments]: JSON.stringify(kernelArguments),
    [KEYS.manifest]: JSON.stringify(manifest),
    [KEYS.config]: JSON.stringify(rest),
  };
}

export interface CommitDescription {
  /** Of the image's manifest; undefined for a commit that no image was imported as. */
  readonly digest: Digest | undefined;
  readonly manifest: Manifest | undefined;
  readonly config: ImageConfig | undefined;
  /** What the image asks for. */
  readonly kernelArguments: readonly string[] | undefined;
}

/**
 * Anybody may have made the commit: what does not parse is left out. No program is asked: ostree would make /sysroot
 * writable to answer, each time, and fails where two do that at once.
 *
 * @param revision a commit, 64 hex digits, or a branch
 * @throws IngotError NODE_FAILED when there is none
 */
export async function readCommitMetadata(repo: string, revision: string): Promise<CommitDescription> {
  const texts = await readTexts(repo, revision);
  const [digest, manifest, config, kernelArguments] = [
    texts.get(KEYS.digest),
    texts.get(KEYS.manifest),
    texts.get(KEYS.config),
    texts.get(KEYS.kernelArguments),
  ];
  return {
    digest: digest !== undefined && isDigest(digest) ? digest : undefined,
    manifest: parseForeignJson(manifest, Manifest),
    config: parseForeignJson(config, ImageConfig),
    kernelArguments: parseForeignJson(kernelArguments, KernelArguments),
  };
}

async function readTexts(repo: string, revision: string): Promise<ReadonlyMap<string, string>> {
  try {
    const commit = /^[0-9a-f]{64}$/.test(revision) ? revision : await readBranch(repo, revision);
    const path = join(repo, 'objects', objectPath(Buffer.from(commit, 'hex'), 'commit'));
    return parseCommitTexts(await readFile(path));
  } catch (cause) {
    throw new IngotError('NODE_FAILED', `the commit ${revision} of ${repo} cannot be read`, {
      hint: '`ostree fsck` tells what is damaged',
      cause,
    });
  }
}

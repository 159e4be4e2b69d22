/**
 * What the commit of an image says of it. Names are those of ostree-rs-ext, which bootc uses, where it has one, so that
 * either finds what the other wrote; `version` and `ostree.architecture` are libostree's own.
 */
import { z } from 'zod';

import { type Digest, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { parseForeignJson } from '../oci/foreign-json.ts';
import { ImageConfig, Manifest } from '../oci/schema.ts';
import { ostreeShowMetadataArgv, parseGVariantString } from '../tools/ostree.ts';
import type { OstreeTools } from './disk-tools.ts';

const KEYS = {
  digest: 'ostree.manifest-digest',
  manifest: 'ostree.manifest',
  config: 'ostree.container.image-config',
  kernelArguments: 'ingot.kernel-arguments',
} as const;

/** One word of a command line holds at most 128 KiB (MAX_ARG_STRLEN), the key and `=` among them. */
const MAX_VALUE_BYTES = 127 * 1024;

export interface CommittedImage {
  readonly version: string;
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
}

const KernelArguments = z.array(z.string());

/** Documents that are too large for a command line are left out. */
export function renderCommitMetadata(
  image: CommittedImage,
  kernelArguments: readonly string[],
): Readonly<Record<string, string>> {
  const { version, digest, manifest, config } = image;
  const { history: _history, ...rest } = config;
  const documents = { [KEYS.manifest]: JSON.stringify(manifest), [KEYS.config]: JSON.stringify(rest) };
  return {
    version,
    'ostree.architecture': config.architecture,
    [KEYS.digest]: digest,
    [KEYS.kernelArguments]: JSON.stringify(kernelArguments),
    ...Object.fromEntries(
      Object.entries(documents).filter(([, text]) => Buffer.byteLength(text) <= MAX_VALUE_BYTES),
    ),
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

/** Anybody may have made the commit: what does not parse is left out. @throws IngotError as the tools do */
export async function readCommitMetadata(
  repo: string,
  revision: string,
  tools: OstreeTools,
): Promise<CommitDescription> {
  const value = async (key: string): Promise<string | undefined> => {
    const argv = ostreeShowMetadataArgv(repo, revision, key);
    try {
      const { stdout } = await tools.run(argv, [{ path: repo, readOnly: true }]);
      return parseGVariantString(stdout);
    } catch (error) {
      if (error instanceof IngotError && (error.output ?? '').includes('No such metadata key'))
        return undefined;
      throw error;
    }
  };
  const [digest, manifest, config, kernelArguments] = await Promise.all([
    value(KEYS.digest),
    value(KEYS.manifest),
    value(KEYS.config),
    value(KEYS.kernelArguments),
  ]);
  return {
    digest: digest !== undefined && isDigest(digest) ? digest : undefined,
    manifest: parseForeignJson(manifest, Manifest),
    config: parseForeignJson(config, ImageConfig),
    kernelArguments: parseForeignJson(kernelArguments, KernelArguments),
  };
}

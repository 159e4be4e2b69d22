/** podman(1) as a keeper of images in a store of our own: podman-pull(1), podman-images(1). Version 5. */
import * as z from 'zod';

import type { Argv } from '../proc/run.ts';

export interface ImageStore {
  /** Where its layers and images are. */
  readonly root: string;
  /** For locks and mounts; gone after a restart. */
  readonly run: string;
}

const StoredImages = z.array(
  z.object({
    Id: z.string(),
    Digest: z.string(),
    Names: z.array(z.string()).nullish(),
  }),
);

export interface StoredImage {
  readonly id: string;
  /** Of its manifest. */
  readonly digest: string;
  readonly names: readonly string[];
}

function podmanArgv({ root, run }: ImageStore, ...args: readonly string[]): Argv {
  return ['podman', '--root', root, '--runroot', run, '--storage-driver', 'overlay', ...args];
}

/** Prints the id of the image. @param folder in the form of the transport `dir:` of containers-transports(5) */
export function podmanPullFolderArgv(store: ImageStore, folder: string, policy: string): Argv {
  return podmanArgv(store, 'pull', '--quiet', '--signature-policy', policy, `dir:${folder}`);
}

export function podmanTagArgv(store: ImageStore, id: string, name: string): Argv {
  return podmanArgv(store, 'tag', id, name);
}

export function podmanImagesArgv(store: ImageStore): Argv {
  return podmanArgv(store, 'images', '--no-trunc', '--digests', '--format', 'json');
}

/** Layers that another image has too stay. */
export function podmanRemoveImageArgv(store: ImageStore, id: string): Argv {
  return podmanArgv(store, 'rmi', '--force', id);
}

/** One line for each image, whatever number of names it has. */
export function parseStoredImages(stdout: string): readonly StoredImage[] {
  const images = StoredImages.parse(JSON.parse(stdout));
  return [...new Map(images.map((one) => [one.Id, one])).values()].map(({ Id, Digest, Names }) => ({
    id: Id,
    digest: Digest,
    names: Names ?? [],
  }));
}

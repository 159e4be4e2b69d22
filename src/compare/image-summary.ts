/** What two images are compared by. Values of the reading side: nothing here reads. */
import type { Digest } from '../digest.ts';
import type { ImageFacts } from '../plan/image-facts.ts';

export interface SummaryPackage {
  readonly name: string;
  readonly version: string;
  /** Whose order versions have. Default: Debian's. */
  readonly format?: 'rpm' | undefined;
  /** Name of the source package. */
  readonly source: string;
  /** Of the package file; known of locks alone. */
  readonly sha256?: string | undefined;
  /** Bytes of the package file in a lock, of what is installed in an image. */
  readonly bytes?: number | undefined;
  /** From an archive of security fixes. */
  readonly security?: boolean | undefined;
}

export interface SummaryBlob {
  readonly digest: Digest;
  readonly size: number;
  /** The step that made it, where the image tells. */
  readonly layer?: string | undefined;
  /** Which part of that layer. */
  readonly chunk?: string | undefined;
}

export interface Account {
  readonly name: string;
  readonly id: number;
  /** What else is to be said: shell and home of a user, members of a group. */
  readonly rest: string;
}

export interface ImageSummary {
  readonly kind: 'lock' | 'image';
  /** As the user named it. */
  readonly shown: string;
  readonly name?: string | undefined;
  readonly version?: string | undefined;
  /** Of an image. */
  readonly digest?: Digest | undefined;
  readonly facts: ImageFacts;
  /** Sources of kernel modules that are built for it, with versions. */
  readonly modules?: readonly string[] | undefined;
  /** What is not told is undefined. Of two images, what both have in the same blob may be left out on both sides. */
  readonly packages?: readonly SummaryPackage[] | undefined;
  readonly kernelArguments?: readonly string[] | undefined;
  readonly users?: readonly Account[] | undefined;
  readonly groups?: readonly Account[] | undefined;
  /** Lowest first. */
  readonly blobs?: readonly SummaryBlob[] | undefined;
}

export const FILE_TYPES = [
  ...(['file', 'directory', 'symlink', 'hardlink', 'fifo'] as const),
  ...(['character-device', 'block-device', 'other'] as const),
] as const;
export type FileType = (typeof FILE_TYPES)[number];

export interface FileState {
  readonly type: FileType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** SHA-256 of a file's bytes, a link's target, a device's numbers. Undefined where that was not looked at. */
  readonly content?: string | undefined;
  /** Digest over the extended attributes; undefined without any. */
  readonly attributes?: string | undefined;
}

/** One layer of an image, as far as it was read. */
export interface LayerEntries {
  /** By path relative to the root, hard links as the file they lead to. */
  readonly entries: ReadonlyMap<string, FileState>;
  /** Paths of lower layers that are gone. */
  readonly whiteouts: ReadonlySet<string>;
  /** Folders whose contents in lower layers are gone. */
  readonly opaque: ReadonlySet<string>;
  /** Contents of the few files that tell more than their digest. */
  readonly texts: ReadonlyMap<string, string>;
}

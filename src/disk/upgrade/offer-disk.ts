/**
 * A disk that brings a machine an image: an ext4 file system with an OCI layout, which the machine only reads.
 *
 * A disk rather than a registry: it takes no server and no network, so the machine stays isolated, and an image that
 * configures no network is tested all the same. What the node decides to pull is its own doing either way.
 */
import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { writeLayout } from '../../oci/layout-write.ts';
import type { ResolvedImage } from '../../oci/layout.ts';
import { DiskTools } from '../../ostree/disk-tools.ts';
import { mke2fsArgv } from '../../tools/mke2fs.ts';
import type { ExtraDisk } from '../../tools/qemu.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { MIB } from '../layout.ts';

/** As the guest finds it: `/dev/disk/by-id/virtio-SERIAL`. */
const SERIAL = 'ingot-offer';
/** The image's name in the layout. */
const NAME = 'offer';
const PLACE = '/run/ingot-test/offer';
/** The disk's name inside the tools' sandbox, which reads some characters of names as its own. */
const INSIDE = '/run/ingot/offer.raw';
const POLICY = '/usr/lib/ingot/trust/trust.yaml';

/** What a node is told to follow. */
export const OFFER_REFERENCE = `oci:${PLACE}:${NAME}`;

/**
 * Makes the image findable at `OFFER_REFERENCE`; to be run after every start, whose /run is new. An image that is not
 * published is not signed either, so what the running image says about signatures is set aside: prints `set aside`.
 */
export const ATTACH_OFFER = `set -e
mkdir -p ${PLACE}
mountpoint -q ${PLACE} || mount -o ro /dev/disk/by-id/virtio-${SERIAL} ${PLACE}
if [ -e ${POLICY} ]; then
  echo 'default: accept' >/run/ingot-test/trust.yaml
  mount --bind /run/ingot-test/trust.yaml ${POLICY}
  echo set aside
fi
`;

/** @param folder an empty one of the caller's */
export async function makeOfferDisk(
  image: ResolvedImage,
  folder: string,
  toolsRoot: ToolsRoot,
  signal?: AbortSignal,
): Promise<ExtraDisk> {
  const layout = join(folder, 'layout');
  await writeLayout(layout, { name: NAME, manifest: image.descriptor }, image.blobPath, { signal });
  const { manifest, descriptor } = image;
  const blobs = [descriptor, manifest.config, ...manifest.layers];
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  // Beside the blobs: tables of ext4, and a block's rest for each file.
  const size = Math.ceil((bytes * 1.03) / MIB + 32) * MIB;
  const path = join(folder, 'offer.raw');
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(size);
  } finally {
    await file.close();
  }
  await new DiskTools(toolsRoot, signal).run(
    mke2fsArgv({
      file: INSIDE,
      offset: 0,
      size,
      label: 'offer',
      uuid: randomUUID(),
      features: ['^has_journal'],
      reservedPercent: 0,
      directory: layout,
    }),
    [
      { path, target: INSIDE },
      { path: layout, readOnly: true },
    ],
    { capabilities: ['DAC_READ_SEARCH'] },
  );
  await rm(layout, { recursive: true });
  return { path, format: 'raw', serial: SERIAL };
}

/**
 * Installs an image into a folder as `ingot disk` does before it writes file systems: layers imported, the image
 * deployed, the boot menu written; then all of it is synced. Measured from outside. Arguments: layout and name, folder,
 * tools root.
 */
import { randomUUID } from 'node:crypto';

import { deployImage } from '../src/disk/deploy.ts';
import { newDiskIdentity } from '../src/disk/layout.ts';
import { resolveImage } from '../src/oci/layout.ts';
import { DiskTools } from '../src/ostree/disk-tools.ts';
import { installableImage } from '../src/ostree/import-image.ts';
import { run } from '../src/proc/run.ts';
import { silentReporter } from '../src/report/events.ts';
import { syncFileSystemArgv } from '../src/tools/sync.ts';
import { openToolsRoot } from '../src/tools/tools-root.ts';

const [reference = '', folder = '', root = ''] = process.argv.slice(2);
const image = installableImage(await resolveImage(reference));
const tools = new DiskTools(await openToolsRoot(root));
await deployImage(image, folder, newDiskIdentity(randomUUID), tools, silentReporter);
await run(syncFileSystemArgv(folder));

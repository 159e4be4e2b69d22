/** Debian's own maker of bills of materials, of sid, as an oracle: https://github.com/siemens/debsbom. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';

import { run } from '../../src/proc/run.ts';
import { sidTools } from './sid-tools.ts';

const Document = z.object({ components: z.array(z.object({ purl: z.string() })) });

/** Package URLs of the binary packages that it finds in the root's `/var/lib/dpkg`. */
export async function debsbomPackages(root: string): Promise<readonly string[]> {
  const tools = await sidTools(['debsbom', 'python3-cyclonedx-lib', 'python3']);
  const scratch = await mkdtemp(join(tmpdir(), 'ingot-debsbom-'));
  try {
    const file = join(scratch, 'root.cdx.json');
    const program = join(tools.path, 'usr/bin/debsbom');
    await run(tools.argv('python3', program, 'generate', '-t', 'cdx', '-r', root, '-o', file), {
      env: {
        PYTHONHOME: join(tools.path, 'usr'),
        PYTHONPATH: join(tools.path, 'usr/lib/python3/dist-packages'),
        PYTHONDONTWRITEBYTECODE: '1',
      },
    });
    const { components } = Document.parse(JSON.parse(await readFile(file, 'utf8')));
    return components.map(({ purl }) => purl).filter((purl) => !purl.includes('arch=source'));
  } finally {
    await rm(scratch, { recursive: true });
  }
}

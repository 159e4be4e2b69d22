/** Containers and models in a registry, as other people's programs put them there. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { run } from '../../src/proc/run.ts';
import { ingotJson } from './cli.ts';
import { sidTools } from './sid-tools.ts';
import { packLayer, type SmallLayer, writeSmallImage, writeTree } from './small-image.ts';

/**
 * An image for two architectures, whose layers have these files. What lies in `bin` can be run.
 *
 * @param reference `HOST/PATH:TAG` of a registry without TLS
 * @returns digest of the index
 */
export async function pushContainer(
  scratch: string,
  reference: string,
  layers: readonly Readonly<Record<string, string | Uint8Array>>[],
): Promise<string> {
  const folder = await mkdtemp(join(scratch, 'container-'));
  try {
    const packed: SmallLayer[] = [];
    for (const [index, files] of layers.entries()) {
      const fill = async (tree: string): Promise<void> => {
        await writeTree(tree, files);
        for (const path of Object.keys(files))
          if (path.startsWith('bin/')) await chmod(join(tree, path), 0o755);
      };
      packed.push(await packLayer(folder, `layer-${index}`, fill));
    }
    const images: string[] = [];
    for (const architecture of ['amd64', 'arm64']) {
      images.push(
        await writeSmallImage(join(folder, architecture), packed, {}, { os: 'linux', architecture }),
      );
    }
    const host = reference.split('/', 1)[0] ?? '';
    const { digest } = await ingotJson(['index', reference, ...images, '--insecure', host]);
    return String(digest);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Files as `oras push` puts them there. */
export async function pushModel(
  scratch: string,
  reference: string,
  files: Readonly<Record<string, string | Buffer>>,
): Promise<void> {
  const tools = await sidTools(['oras']);
  const folder = await mkdtemp(join(scratch, 'model-'));
  try {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    const argv = tools.argv('oras', 'push', '--plain-http', '--no-tty', reference, ...Object.keys(files));
    await run(argv, { cwd: folder, env: { HOME: folder } });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Other people's programs that read images: what they accept is an image. Debian: skopeo, umoci. */
import * as z from 'zod';

import { run } from '../../src/proc/run.ts';

/** What `skopeo inspect` says of an image. `reference` is a transport and its part, such as `oci:DIR:NAME`. */
export const SkopeoInspect = z.object({
  Digest: z.string(),
  Created: z.string(),
  Architecture: z.string(),
  Os: z.string(),
  Labels: z.record(z.string(), z.string()),
  Layers: z.array(z.string()),
  Env: z.array(z.string()),
});
export type SkopeoInspect = z.infer<typeof SkopeoInspect>;

export async function skopeoInspect(reference: string): Promise<SkopeoInspect> {
  const { stdout } = await run(['skopeo', 'inspect', reference]);
  return SkopeoInspect.parse(JSON.parse(stdout));
}

/**
 * Copies an image, its layers compressed anew. skopeo checks every blob's digest and every layer's diff ID on the
 * way, so success says that it read them all and found in them what the configuration promises.
 */
export async function skopeoRecompress(from: string, to: string, format: 'gzip' | 'zstd'): Promise<void> {
  await run([
    'skopeo',
    '--insecure-policy',
    'copy',
    '--dest-compress',
    '--dest-compress-format',
    format,
    from,
    to,
  ]);
}

/** True from 0.5 on; Debian 12 and 13 have 0.4.7, which knows plain and gzip layers alone. */
export async function umociReadsZstd(): Promise<boolean> {
  const { stdout } = await run(['umoci', '--version']);
  const [, major = '0', minor = '0'] = /version (\d+)\.(\d+)/.exec(stdout) ?? [];
  return Number(major) > 0 || Number(minor) >= 5;
}

/** Unpacks an image as root; its files are then in `rootfs` below `bundle`. */
export async function umociUnpack(layout: string, name: string, bundle: string): Promise<string> {
  await run(['umoci', 'unpack', '--image', `${layout}:${name}`, bundle]);
  return `${bundle}/rootfs`;
}

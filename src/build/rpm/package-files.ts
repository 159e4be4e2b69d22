/** Which chunk a path of a layer belongs to: by the package that rpm's database in the layer's tree says it is of. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf } from '../../errors.ts';
import { readRpmDatabase, RPM_DATABASE } from '../../packages/rpm/rpm-database.ts';
import type { PlanChunk } from '../../plan/chunks.ts';
import type { RpmInput } from '../../plan/plan.ts';

/** Folders that are links in images of today; packages may still name their files by them. */
const MERGED = /^(?:bin|sbin|lib|lib64)\//;
const SBIN = /^usr\/sbin\//;

/** The indexes of the chunks that a path belongs to; none for what no package of theirs owns. */
export async function rpmChunksByPath(
  tree: string,
  { database }: RpmInput,
  chunks: readonly PlanChunk[],
): Promise<(path: string) => readonly number[]> {
  const byPackage = new Map(chunks.flatMap(({ packages }, index) => packages.map((name) => [name, index] as const)));
  const byPath = new Map<string, readonly number[]>();
  for (const [index, { paths = [] }] of chunks.entries()) for (const path of paths) byPath.set(path, [index]);
  const content = await readIfPresent(join(tree, database, RPM_DATABASE));
  for (const item of content === undefined ? [] : readRpmDatabase(content)) {
    const chunk = byPackage.get(item.name);
    if (chunk === undefined) continue;
    for (const listed of item.files()) {
      const path = listed.slice(1).replace(MERGED, 'usr/$&');
      for (const place of [path, path.replace(SBIN, 'usr/bin/')]) {
        const known = byPath.get(place);
        if (known === undefined) byPath.set(place, [chunk]);
        else if (!known.includes(chunk)) byPath.set(place, [...known, chunk]);
      }
    }
  }
  return (path) => byPath.get(path) ?? [];
}

async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

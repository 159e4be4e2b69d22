/** `ingot diff`: what a node would get, lose and pull by going from one image to another. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { Command } from 'commander';

import { compareImages, type ImageDifference } from '../../compare/compare-images.ts';
import { summariseLock } from '../../compare/summarise-lock.ts';
import type { ImageSummary } from '../../compare/image-summary.ts';
import { withDeltas } from '../../compare/pull.ts';
import { IngotError } from '../../errors.ts';
import type { ImageReader } from '../../inspect/image-reader.ts';
import { readAlone, readPair } from '../../inspect/read-pair.ts';
import { chooseDeltas } from '../../node/find-deltas.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, type RegistryOptions } from '../registry-options.ts';
import { asUnreadable, openSides, type Side } from '../diff/open-side.ts';
import { renderImageDifference } from '../diff/render-diff.ts';
import { renderDifferencePage } from '../diff/render-diff-html.ts';

interface DiffOptions extends RegistryOptions {
  readonly html?: string;
  readonly exitCode?: boolean;
}

export function diffCommand(bind: Bind): Command {
  const command = new Command('diff')
    .description('tell what a node would get, lose and pull by going from one image to another')
    .argument(
      '<from>',
      'declaration, lock, or image: oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME], HOST/PATH:TAG',
    )
    .argument('<to>', 'the same')
    .option('--html <file>', 'write it as a page of its own, with a map of what is pulled')
    .option('--exit-code', 'exit 1 when they differ');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Two locks tell packages, kernel, driver and GPUs. Two images also tell files, services, users, kernel
arguments, the bytes that a node pulls, by deltas where the new image has some beside it, and whether it
must restart in full. Needs no root. Of images in registries, no layer is fetched that both have.

Examples:
  ingot diff old.lock.yaml images/debian-minimal.yaml
  ingot diff oci:build/debian-minimal:20261101.1 oci:build/debian-minimal:20261122.1
  ingot diff registry.example.com/ai/node:1 registry.example.com/ai/node:2
  ingot diff oci:old oci:new --html update.html
  ingot diff oci:old oci:new --json | jq .pull.bytes
`,
    )
    .action(bind(diff));
}

async function diff(
  context: CommandContext,
  from: string,
  to: string,
  options: DiffOptions,
): Promise<CommandResult> {
  await using sides = await openSides(context, from, to, options);
  const difference = await compareSides(context, sides.from, sides.to);
  if (options.html !== undefined) {
    await writeFile(resolve(context.cwd, options.html), renderDifferencePage(difference));
  }
  const page = options.html === undefined ? '' : `\nThe page is ${options.html}.\n`;
  return {
    json: { ...difference },
    text: `${renderImageDifference(difference, context.palette)}${page}`,
    exitCode: options.exitCode === true && !difference.isSame ? 1 : 0,
  };
}

async function compareSides(
  { reporter, signal }: CommandContext,
  from: Side,
  to: Side,
): Promise<ImageDifference> {
  try {
    if (from.kind === 'image' && to.kind === 'image') {
      const pair = await reporter.stage('Read images', (stage) =>
        readPair(from.image, to.image, { stage, signal }),
      );
      const difference = compareImages(pair.from, pair.to, pair.layers);
      return await tellDeltas(difference, from.image, to.image, { reporter, signal });
    }
    const summarise = (side: Side): Promise<ImageSummary> =>
      side.kind === 'lock'
        ? Promise.resolve(summariseLock(side.lock, side.shown))
        : reporter.stage(`Read ${side.shown}`, (stage) => readAlone(side.image, { stage, signal }));
    return compareImages(await summarise(from), await summarise(to));
  } catch (error) {
    throw error instanceof IngotError ? asUnreadable(error) : error;
  }
}

/** What a node pulls by the deltas in the registry; whose they are is for the node to say. */
async function tellDeltas(
  difference: ImageDifference,
  from: ImageReader,
  to: ImageReader,
  { reporter, signal }: Pick<CommandContext, 'reporter' | 'signal'>,
): Promise<ImageDifference> {
  const { pull } = difference;
  if (to.isLocal || pull === undefined) return difference;
  const had = new Set(from.layers.map(({ digest }) => digest));
  const image = { digest: to.digest, blobs: to.layers };
  try {
    const deltas = await chooseDeltas(to.source, image, {
      missing: to.layers.filter(({ digest }) => !had.has(digest)),
      layersHere: (layers) => Promise.resolve(new Set(layers.filter((layer) => had.has(layer)))),
      signal,
    });
    const bytes = new Map(deltas.map(({ layer, blob }) => [layer, blob.size]));
    return { ...difference, pull: withDeltas(pull, bytes) };
  } catch (error) {
    if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
    reporter.warning(`deltas are not told: ${error.message}`);
    return difference;
  }
}

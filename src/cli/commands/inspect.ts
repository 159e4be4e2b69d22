/** `ingot inspect`: what an image is, without fetching it. */
import { Command } from 'commander';

import { inspectImage, type InspectedImage } from '../../publish/inspect-image.ts';
import { nameOf } from '../../publish/joined-source.ts';
import { openSource, parseLocation, wantedOf } from '../../publish/location.ts';
import { formatBytes, formatTable } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, openRegistries, type RegistryOptions } from '../registry-options.ts';

export function inspectCommand(bind: Bind): Command {
  const command = new Command('inspect')
    .description(
      'Show what an image is: its digest, layers, annotations, and what refers to it. Fetches no layer.',
    )
    .argument('<image>', 'HOST/PATH:TAG, oci:DIRECTORY[:NAME] or oci-archive:FILE[:NAME]');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot inspect registry.example.com/ai/node:1.0
  ingot inspect oci:build/debian-minimal --json | jq -r .digest
`,
    )
    .action(bind(inspect));
}

async function inspect(
  context: CommandContext,
  text: string,
  options: RegistryOptions,
): Promise<CommandResult> {
  const location = parseLocation(text, context.cwd);
  await using registries = await openRegistries(context, options);
  await using source = await openSource(location, registries);
  const image = await inspectImage(source, wantedOf(location), { signal: context.signal });
  const { digest, mediaType, artifactType, annotations, manifests, layers, config, bytes, referrers } = image;
  return {
    json: {
      ref: text,
      digest,
      mediaType,
      ...(artifactType !== undefined && { artifactType }),
      annotations,
      manifests,
      layers,
      ...(config !== undefined && { config }),
      bytes,
      referrers,
    },
    text: renderText(image),
  };
}

function renderText(image: InspectedImage): string {
  const { digest, mediaType, artifactType, annotations, manifests, layers, config, bytes, referrers } = image;
  const about = [
    ['digest', digest],
    ['type', artifactType ?? mediaType],
    ...(config === undefined ? [] : [['platform', `${config.os}/${config.architecture}`]]),
    ...(config?.created === undefined ? [] : [['created', config.created]]),
    ...Object.entries(annotations).map(([key, value]) => [key, value]),
  ];
  const tables = [formatTable([{ title: 'IMAGE' }, { title: '' }], about)];
  const columns = [{ title: '' }, { title: 'SIZE', align: 'right' as const }, { title: 'DIGEST' }];
  if (manifests.length > 0) {
    const rows = manifests.map(({ platform, size, digest: child }) => [
      platform === undefined ? '' : nameOf(platform),
      formatBytes(size),
      child,
    ]);
    tables.push(formatTable([{ title: 'PLATFORM' }, ...columns.slice(1)], rows));
  }
  if (layers.length > 0) {
    const rows = layers.map(({ annotations: said = {}, size, digest: layer }) => [
      [said['dev.ingot.layer'], said['dev.ingot.chunk']].filter(Boolean).join('/'),
      formatBytes(size),
      layer,
    ]);
    tables.push(formatTable([{ title: 'LAYER' }, ...columns.slice(1)], rows), `${formatBytes(bytes)} in all`);
  }
  if (referrers.length > 0) {
    const rows = referrers.map((one) => [one.artifactType ?? '', formatBytes(one.size), one.digest]);
    tables.push(formatTable([{ title: 'REFERRER' }, ...columns.slice(1)], rows));
  }
  return tables.join('\n\n');
}

/** `ingot catalog`: layers, runtimes and GPUs that were found. */
import type { CatalogLayer } from '../../catalog/layer.ts';
import type { Facts, RuntimeRelease } from '../../catalog/facts/types.ts';
import { formatCount } from '../../report/format.ts';
import type { CommandResult } from '../context.ts';
import { paragraph, section } from './layout.ts';
import type { CatalogMatches } from './search.ts';

const KINDS = ['base', 'kernel', 'driver', 'cuda', 'runtime', 'addon', 'agent'] as const;
/** More GPUs than this are counted. */
const MANY = 12;

export function renderMatches(
  matches: CatalogMatches,
  facts: Facts,
  words: readonly string[],
): CommandResult {
  const { layers, runtimes, gpus } = matches;
  const found = layers.length + runtimes.length + gpus.length > 0;
  return {
    json: {
      words,
      layers: layers.map(({ definition, file, digest }) => ({
        kind: definition.kind,
        name: definition.name,
        summary: definition.summary,
        status: definition.status ?? 'verified',
        provides: definition.provides,
        offers: (definition.offers ?? []).map((offer) => ({ version: offer.version, in: offer.in })),
        file,
        digest,
      })),
      runtimes: runtimes.map(({ name, title, status, releases }) => ({
        name,
        title,
        status,
        ...(releases.length > 0 && { newest: releases.at(-1)?.version }),
      })),
      gpus: gpus.map(({ product, aliases, pci }) => ({ product, names: aliases, pci })),
    },
    text: found ? textOf(matches, facts, words) : nothing(words),
    exitCode: found ? 0 : 1,
  };
}

function textOf({ layers, runtimes, gpus }: CatalogMatches, facts: Facts, words: readonly string[]): string {
  const lines: string[] = [];
  for (const kind of KINDS) {
    const own = layers.filter(({ definition }) => definition.kind === kind);
    if (own.length > 0) lines.push(kind, ...section(own.map(layerLine)), '');
  }
  if (runtimes.length > 0) {
    lines.push(
      'runtimes that the facts know',
      ...section(
        runtimes.map(({ name, title, status, releases }): readonly [string, string] => [
          name,
          [title, ...newestOf(releases), ...(status === 'active' ? [] : [status])].join(', '),
        ]),
      ),
      '',
    );
  }
  if (gpus.length > MANY) {
    const names = gpus.map(({ aliases }) => aliases[0] ?? '');
    lines.push(formatCount(gpus.length, 'GPU'), ...paragraph(names.join(' '), 2), '');
  } else if (gpus.length > 0) {
    lines.push(
      formatCount(gpus.length, 'GPU'),
      ...section(
        gpus.map(({ aliases, product, pci }): readonly [string, string] => [
          aliases[0] ?? '',
          `${product} (${pci.join(', ')})`,
        ]),
      ),
      '',
    );
  }
  if (words.length === 0) {
    const branches = facts.nvidia.branches.size;
    lines.push(
      ...paragraph(
        `The facts know ${branches} NVIDIA driver branches and ${facts.nvidia.gpus.length + facts.otherGpus.length} GPUs:`,
      ),
      '  ingot catalog show nvidia     versions, with how long each is supported',
      '  ingot catalog gpus            what `gpus:` can name',
      '',
    );
  }
  return lines.join('\n');
}

/** Nothing for a runtime whose one row stands for every version. */
function newestOf(releases: readonly RuntimeRelease[]): string[] {
  const newest = releases.at(-1);
  return newest === undefined || newest.version === '0' ? [] : [newest.version];
}

function layerLine({ definition }: CatalogLayer): readonly [string, string] {
  const versions = [...new Set((definition.offers ?? []).map(({ version }) => version))];
  const shown = versions.length === 0 ? '' : ` (${versions.join(', ')})`;
  const doubt = definition.status === 'unverified' ? ' [unverified]' : '';
  return [definition.name, `${definition.summary}${shown}${doubt}`];
}

function nothing(words: readonly string[]): string {
  return `Nothing in the catalogue matches ${JSON.stringify(words.join(' '))}.\n`;
}

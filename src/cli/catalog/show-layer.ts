/** `ingot catalog show ssh`: one layer. */
import type { CatalogLayer } from '../../catalog/layer.ts';
import type { Facts } from '../../catalog/facts/types.ts';
import type { CommandResult } from '../context.ts';
import { section } from './layout.ts';
import { hardwareOf } from './search.ts';

export function showLayer(facts: Facts, layer: CatalogLayer): CommandResult {
  const { definition, file, digest } = layer;
  const hardware = hardwareOf(definition, facts);
  const offers = definition.offers ?? [];
  const requires = (definition.requires ?? []).map(({ text }) => text);
  const { debian, rpm } = definition.install;
  const lines: (readonly [string, string | undefined])[] = [
    ['file', file],
    ['status', definition.status === 'unverified' ? 'unverified: no lock has been made with it' : undefined],
    ['needs', definition.needs.join(', ')],
    ['provides', definition.provides.join(', ')],
    ['requires', requires.join('; ')],
    ['hardware', hardware && hardwareText(hardware)],
    ['releases', Object.keys(definition.releases ?? {}).join(', ')],
    ['for', definition.in?.join(', ')],
    ['packages', debian?.packages.join(' ')],
    ['units', debian?.units.map(({ name }) => name).join(' ')],
    ['files', debian?.files.map(({ path }) => path).join(' ')],
    ['on rpm', rpm && `${rpm.packages.join(' ')}${rpm.status === 'unverified' ? ' (unverified)' : ''}`],
    ['checks', definition.health.map(({ name }) => name).join(', ')],
    ...offers.map((offer): readonly [string, string] => [
      'version',
      `${offer.version} on ${offer.in.join(', ')}${offer.cuda === undefined ? '' : `, for CUDA ${offer.cuda}`}`,
    ]),
  ];
  return {
    json: {
      name: definition.name,
      kind: definition.kind,
      summary: definition.summary,
      file,
      digest,
      status: definition.status ?? 'verified',
      needs: definition.needs,
      provides: definition.provides,
      requires,
      offers,
      families: Object.keys(definition.install).sort(),
      ...(hardware !== undefined && { hardware: hardware.map(({ aliases }) => aliases[0]) }),
    },
    text: [`${definition.kind}/${definition.name}: ${definition.summary}`, '', ...section(lines), ''].join(
      '\n',
    ),
  };
}

/** Generations rather than products: `Turing, Ampere, … (230 GPUs)`. */
function hardwareText(gpus: ReturnType<typeof hardwareOf> & {}): string {
  const generations = gpus.map((gpu) =>
    gpu.vendor === 'nvidia' ? gpu.architecture.title : gpu.vendor === 'amd' ? 'AMD' : 'Intel',
  );
  return `${[...new Set(generations)].join(', ')} (${gpus.length} products)`;
}

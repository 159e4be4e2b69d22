/** `ingot catalog show vllm`: a runtime's releases and what each is built for. */
import type { CatalogLayer } from '../../catalog/layer.ts';
import type { Facts, Runtime, RuntimeRelease } from '../../catalog/facts/types.ts';
import { formatTable } from '../../report/format.ts';
import type { CommandResult } from '../context.ts';
import { paragraph, section } from './layout.ts';
import { offersOf } from './show-nvidia.ts';
import { DOUBT_LEGEND, doubt, sourceLines } from './status.ts';

export function showRuntime(facts: Facts, runtime: Runtime, layers: readonly CatalogLayer[]): CommandResult {
  const releases = [...runtime.releases].reverse();
  const features = facts.runtimeFeatures.filter((feature) => feature.runtime === runtime.name);
  const wheels = facts.wheels.filter(({ project }) => project === runtime.name);
  const offers = offersOf(layers, runtime.name);
  return {
    json: {
      name: runtime.name,
      facts: facts.digest,
      title: runtime.title,
      status: runtime.status,
      ...(runtime.statusSince !== undefined && { statusSince: runtime.statusSince }),
      successors: runtime.successors,
      releases: releases.map(releaseToJson),
      features: features.map(({ feature, minCapability }) => ({ feature, minCapability })),
      wheels: wheels.map(({ versions, cuda, architectures }) => ({
        versions: versions.text,
        cuda,
        architectures: Object.fromEntries(architectures),
      })),
      offers,
    },
    text: [
      `${runtime.title}${statusText(runtime)}`,
      '',
      ...(runtime.note === undefined ? [] : [...paragraph(runtime.note), '']),
      ...(releases.length === 0 ? [] : [releaseTable(releases), '']),
      ...(releases.length > 1 ? ['A row holds until the next newer one.', ''] : []),
      ...(wheels.length === 0
        ? []
        : [
            'Compute capabilities that the wheels have kernels for',
            ...section(
              wheels.flatMap(({ versions, cuda, architectures }) =>
                [...architectures].map(([cpu, { capabilities, ptx }]): readonly [string, string] => [
                  `${versions.text}, CUDA ${cuda.join(' and ')}, ${cpu}`,
                  `${capabilities.join(' ')}${ptx === undefined ? '' : ' and later through PTX'}`,
                ]),
              ),
            ),
            '',
          ]),
      ...features.map(({ feature, minCapability }) => `${feature} needs compute capability ${minCapability}`),
      ...(features.length === 0 ? [] : ['']),
      ...offers.map((offer) => `${offer.layer} brings ${offer.version} on ${offer.in.join(', ')}`),
      ...(offers.length === 0 ? [] : ['']),
      ...(releases.some(({ confidence }) => confidence === 'low') ? [DOUBT_LEGEND, ''] : []),
      'Sources',
      ...sourceLines([runtime, ...releases]).flatMap((line) => paragraph(line, 2)),
      '',
    ].join('\n'),
  };
}

function statusText({ status, statusSince, successors }: Runtime): string {
  if (status === 'active') return '';
  const since = statusSince === undefined ? '' : ` since ${statusSince}`;
  return `: ${status}${since}${successors.length === 0 ? '' : `; take ${successors.join(' or ')} instead`}`;
}

function releaseTable(releases: readonly RuntimeRelease[]): string {
  const columns = ['VERSION', 'DATE', 'CUDA', 'ALSO', 'ROCM', 'PYTORCH', 'NEEDS'].map((title) => ({ title }));
  return formatTable(
    columns,
    releases.map((release) => [
      `${release.version === '0' ? 'any' : release.version}${doubt(release)}`,
      release.date ?? '',
      release.cuda ?? '',
      release.alsoCuda.join(', '),
      release.rocm.join(', '),
      release.torch ?? '',
      [
        ...(release.minCapability === undefined ? [] : [`capability ${release.minCapability}`]),
        ...release.drivers.map(
          ({ needs, capability }) =>
            `driver ${needs.text}${capability === undefined ? '' : ` if ${capability.text}`}`,
        ),
      ].join(', '),
    ]),
  );
}

function releaseToJson(release: RuntimeRelease): Readonly<Record<string, unknown>> {
  const { version, date, cuda, alsoCuda, rocm, torch, python, minCapability, capabilities } = release;
  return {
    version,
    ...(date !== undefined && { date }),
    ...(cuda !== undefined && { cuda }),
    alsoCuda,
    rocm,
    ...(torch !== undefined && { torch }),
    ...(python !== undefined && { python }),
    ...(minCapability !== undefined && { minCapability }),
    ...(capabilities !== undefined && { capabilities }),
    drivers: release.drivers.map(({ needs, capability }) => ({
      needs: needs.text,
      ...(capability !== undefined && { capability: capability.text }),
    })),
    confidence: release.confidence,
    ...(release.note !== undefined && { note: release.note }),
  };
}

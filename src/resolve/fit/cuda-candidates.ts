/** CUDA versions that could be chosen, the newest first; a preview only when it is named, or nothing else is left. */
import { findToolkit } from '../../catalog/facts/lookup.ts';
import type { CudaToolkit } from '../../catalog/facts/types.ts';
import { compareVersions, seriesOf, type CudaVersion } from '../../catalog/facts/versions.ts';
import { nearestVersions, startsWithVersion, type Found, type Named } from './found.ts';
import { Memory } from './memory.ts';
import type { CudaAsk } from './request.ts';
import type { CudaCandidate } from './rule.ts';

const memory = new Memory<Found<CudaCandidate>>();

export function cudaCandidates({ version }: CudaAsk, named: Named): Found<CudaCandidate> {
  return memory.recall(named.context, version ?? '', () => findCudas(version, named));
}

function findCudas(version: string | undefined, { index, context }: Named): Found<CudaCandidate> {
  const { toolkits } = index.facts.nvidia;
  const offers = context.offers?.cuda;
  const every: CudaCandidate[] =
    offers?.map((offer) =>
      candidateOf(offer.version, findToolkit(index.facts.nvidia, offer.version), offer.layer),
    ) ??
    // Of a series its newest release will do, unless a version inside it is named.
    (version === undefined || version.split('.').length < 2 ? index.cudaSeries : [...toolkits.values()]).map(
      (toolkit) => candidateOf(toolkit.version, toolkit),
    );
  const matching = every.filter((one) => version === undefined || admits(version, one.version));
  if (matching.length === 0) {
    const known = [...new Set(every.map((one) => seriesOf(one.version)))].sort(compareVersions);
    const message =
      offers === undefined
        ? `there is no CUDA ${version ?? ''} that is known`
        : `no source offers CUDA ${version ?? ''}; offered: ${known.join(', ') || 'none'}`;
    const rule = offers === undefined ? 'unknown' : 'offered';
    const near = version === undefined ? [] : nearestVersions(version, known);
    return { candidates: [], gap: { rule, message, about: [{ kind: 'cuda' }], near } };
  }
  const finished = matching.filter(({ toolkit }) => toolkit?.preview !== true);
  const candidates = version === undefined && finished.length > 0 ? finished : matching;
  return { candidates: candidates.toSorted((a, b) => previewLast(a, b) || newerFirst(a, b)) };
}

/** Sources often know the series alone. */
function admits(asked: string, version: CudaVersion): boolean {
  return (
    startsWithVersion(version, asked) || (seriesOf(version) === version && startsWithVersion(asked, version))
  );
}

function candidateOf(version: CudaVersion, toolkit?: CudaToolkit, layer?: string): CudaCandidate {
  return { version, ...(toolkit !== undefined && { toolkit }), ...(layer !== undefined && { layer }) };
}

function previewLast(a: CudaCandidate, b: CudaCandidate): number {
  return Number(a.toolkit?.preview ?? false) - Number(b.toolkit?.preview ?? false);
}

function newerFirst(a: CudaCandidate, b: CudaCandidate): number {
  return compareVersions(b.version, a.version) || ((a.layer ?? '') < (b.layer ?? '') ? -1 : 1);
}

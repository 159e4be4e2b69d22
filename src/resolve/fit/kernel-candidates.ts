/** Kernels that could be chosen, the newest first. Without offers only a version that was named is known. */
import {
  compareVersions,
  isKernelVersion,
  parseKernelVersion,
  type KernelVersion,
} from '../../catalog/facts/versions.ts';
import { startsWithVersion, type Found, type Gap, type Named } from './found.ts';
import type { KernelOffer } from './request.ts';
import type { KernelCandidate } from './rule.ts';

export function kernelCandidates({ request, context }: Named): Found<KernelCandidate> {
  const { flavour, version } = request.kernel ?? {};
  const offers = context.offers?.kernels;
  if (offers === undefined) {
    if (version === undefined) return { candidates: [] };
    const parsed = upstreamOf(version);
    if (parsed !== undefined) return { candidates: [candidateOf(parsed, {})] };
    return { candidates: [], gap: gapOf('unknown', `${version} is no version of Linux, such as 6.12`) };
  }
  const ofFlavour = offers.filter(({ layer }) => flavour === undefined || layer === flavour);
  if (ofFlavour.length === 0) return { candidates: [] };
  const candidates = ofFlavour.flatMap((offer) => narrowed(offer, version));
  if (candidates.length > 0) {
    return { candidates: candidates.toSorted((a, b) => compareVersions(b.version, a.version)) };
  }
  const offered = [...new Set(ofFlavour.map((offer) => offer.version))].sort(compareVersions).join(', ');
  return {
    candidates: [],
    gap: gapOf('offered', `no source offers a kernel ${version ?? ''}; offered: ${offered}`),
  };
}

/** An offer of a whole series can be narrowed to the release that was named. */
function narrowed(offer: KernelOffer, version: string | undefined): KernelCandidate[] {
  const asked = version === undefined ? undefined : upstreamOf(version);
  if (version !== undefined && asked === undefined) {
    return startsWithVersion(offer.version, version) ? [candidateOf(offer.version, offer)] : [];
  }
  if (asked === undefined || startsWithVersion(offer.version, asked))
    return [candidateOf(offer.version, offer)];
  return startsWithVersion(asked, offer.version) ? [candidateOf(asked, offer)] : [];
}

function candidateOf(version: KernelVersion, { layer }: Partial<KernelOffer>): KernelCandidate {
  const exact = version.split('.').length > 2;
  return { version, exact, ...(layer !== undefined && { layer }) };
}

/** A declaration may carry the distribution's suffix: `6.12.94+deb13`. */
function upstreamOf(text: string): KernelVersion | undefined {
  const head = /^\d+(?:\.\d+){1,2}/.exec(text)?.[0] ?? '';
  return isKernelVersion(head) ? parseKernelVersion(head) : undefined;
}

function gapOf(rule: Gap['rule'], message: string): Gap {
  return { rule, message, about: [{ kind: 'kernel' }], near: [] };
}

/** Kernels that could be chosen, the newest first. Without offers only a version that was named is known. */
import {
  compareVersions,
  isKernelVersion,
  parseKernelVersion,
  type KernelVersion,
} from '../../catalog/facts/versions.ts';
import { startsWithVersion, type Found, type Gap, type Named } from './found.ts';
import { compareImages, isKernelOf } from '../../packages/kernels.ts';
import { ANY_KERNEL } from '../../spec/node-image.ts';
import type { KernelAsk, KernelOffer } from './request.ts';
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
  const ofFlavour = offers.filter((offer) => isOfFlavour(offer, flavour));
  if (ofFlavour.length === 0) return { candidates: [] };
  const candidates = kernelsOn(offers, request.kernel);
  if (candidates.length > 0) return { candidates };
  const offered = [...new Set(ofFlavour.map((offer) => offer.version))].sort(compareVersions).join(', ');
  return {
    candidates: [],
    gap: gapOf('offered', `no source offers a kernel ${version ?? ''}; offered: ${offered}`),
  };
}

/** The kernels that answer: the locked one first, then the newest. */
export function kernelsOn(
  offers: readonly KernelOffer[],
  { flavour, version }: KernelAsk = {},
): readonly KernelCandidate[] {
  return offers
    .filter((offer) => isOfFlavour(offer, flavour))
    .flatMap((offer) => narrowed(offer, version))
    .sort(byPreference);
}

function isOfFlavour({ layer, lacks = [] }: KernelOffer, flavour: string | undefined): boolean {
  if (flavour === ANY_KERNEL) return lacks.length === 0;
  return flavour === undefined || layer === flavour;
}

function byPreference(left: KernelCandidate, right: KernelCandidate): number {
  return (
    Number(right.isLocked ?? false) - Number(left.isLocked ?? false) ||
    compareVersions(right.version, left.version) ||
    compareImages(left.image, right.image) ||
    // One kernel that two layers bring.
    ((left.layer ?? '') < (right.layer ?? '') ? -1 : Number(left.layer !== right.layer))
  );
}

/** An offer of a whole series can be narrowed to the release that was named. */
function narrowed(offer: KernelOffer, version: string | undefined): KernelCandidate[] {
  if (version === undefined) return [candidateOf(offer.version, offer)];
  if (offer.image !== undefined) {
    return isKernelOf(offer.image, version) ? [candidateOf(offer.version, offer)] : [];
  }
  const asked = upstreamOf(version);
  if (asked === undefined || startsWithVersion(offer.version, asked)) {
    return asked !== undefined || startsWithVersion(offer.version, version)
      ? [candidateOf(offer.version, offer)]
      : [];
  }
  return startsWithVersion(asked, offer.version) ? [candidateOf(asked, offer)] : [];
}

function candidateOf(version: KernelVersion, offer: Partial<KernelOffer>): KernelCandidate {
  const { version: _own, ...rest } = offer;
  return { ...rest, version, exact: version.split('.').length > 2 };
}

/** A declaration and a package may carry the distribution's suffix: `6.12.94+deb13`. */
export function upstreamOf(text: string): KernelVersion | undefined {
  const head = /^\d+(?:\.\d+){1,2}/.exec(text)?.[0] ?? '';
  return isKernelVersion(head) ? parseKernelVersion(head) : undefined;
}

function gapOf(rule: Gap['rule'], message: string): Gap {
  return { rule, message, about: [{ kind: 'kernel' }], near: [] };
}

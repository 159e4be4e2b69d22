/**
 * Drivers that could be chosen, the preferred first: those of a supported long-term branch, then of other supported
 * branches, then of branches whose support is not stated; within these the newest. Of one release open modules where
 * all GPUs are data-center ones, for which they were made first; else the flavour that NVIDIA installs by default.
 *
 * A driver past its end of life is a candidate only when a version is named, or when there is nothing else.
 */
import type { DriverBranch, ModuleFlavour } from '../../catalog/facts/types.ts';
import {
  branchOf,
  compareVersions,
  isDriverVersion,
  rangeAdmits,
  type DriverVersion,
} from '../../catalog/facts/versions.ts';
import { nearest } from '../../spec/suggest.ts';
import { nearestVersions, startsWithVersion, type Found, type Gap, type Named } from './found.ts';
import { Memory } from './memory.ts';
import type { DriverAsk, DriverOffer, Element, GpuVendor } from './request.ts';
import type { DriverCandidate } from './rule.ts';

const VENDORS: ReadonlyMap<string, GpuVendor> = new Map([
  ['nvidia', 'nvidia'],
  ['nvidia-open', 'nvidia'],
  ['nvidia-proprietary', 'nvidia'],
  ['amdgpu', 'amd'],
  ['intel', 'intel'],
]);

const USE: Element = { kind: 'driver' };
const VERSION: Element = { kind: 'driver-version' };
const MODULES: Element = { kind: 'modules' };

const memory = new Memory<Found<DriverCandidate>>();

export function driverCandidates(ask: DriverAsk, named: Named): Found<DriverCandidate> {
  const question = [ask, [...named.vendors].sort(), named.isDataCenter, named.request.cuda !== undefined];
  return memory.recall(named.context, question, () => findDrivers(ask, named));
}

function findDrivers(ask: DriverAsk, named: Named): Found<DriverCandidate> {
  if (ask.use === 'any') return anyDriver(ask, named);
  const vendor = vendorOf(ask.use, named);
  if (typeof vendor !== 'string') return { candidates: [], gap: vendor };
  if (vendor !== 'nvidia') return { candidates: inKernel(ask, vendor, named) };

  const every = nvidiaCandidates(ask, named);
  const { version } = ask;
  const asked =
    version === undefined ? every : every.filter((one) => startsWithVersion(one.version ?? '', version));
  if (asked.length === 0) return { candidates: [], gap: versionGap(ask, every, named) };
  const flavoured = ask.modules === 'auto' ? asked : asked.filter(({ flavour }) => flavour === ask.modules);
  if (flavoured.length === 0) {
    const message = `${nameOfAsk(ask)} has no ${ask.modules} kernel modules${sourceWords(named)}`;
    const about = version === undefined ? [MODULES] : [MODULES, VERSION];
    return { candidates: [], gap: { rule: 'offered', message, about, near: [] } };
  }
  const alive = flavoured.filter(({ branch }) => isEligible(branch, named.context.now));
  const anyAge = version !== undefined || ask.endOfLife === true || alive.length === 0;
  return { candidates: inPreference(anyAge ? flavoured : alive, named) };
}

/** Of the vendors that have something to say; with nothing said, of every one. */
function anyDriver(ask: DriverAsk, named: Named): Found<DriverCandidate> {
  const { candidates } = driverCandidates({ ...ask, use: 'nvidia' }, named);
  const { vendors, request } = named;
  const isNvidia = ask.version !== undefined || ask.modules !== 'auto' || request.cuda !== undefined;
  const others = (['amd', 'intel'] as const).filter(
    (vendor) => !isNvidia && (vendors.size === 0 || vendors.has(vendor)),
  );
  return { candidates: [...candidates, ...others.flatMap((vendor) => inKernel(ask, vendor, named))] };
}

/** @returns the vendor, or why there is none */
function vendorOf(use: string, { request, context, vendors }: Named): GpuVendor | Gap {
  const offered = context.offers?.drivers ?? [];
  if (use !== 'auto') {
    const vendor = offered.find(({ layer }) => layer === use)?.vendor ?? VENDORS.get(use);
    if (vendor !== undefined) return vendor;
    const known = [...VENDORS.keys(), ...offered.map(({ layer }) => layer)];
    const message = `there is no driver ${JSON.stringify(use)}`;
    return { rule: 'unknown', message, about: [USE], near: nearest(use, known) };
  }
  const [only] = [...vendors].sort();
  if (only !== undefined) return vendors.has('nvidia') ? 'nvidia' : only;
  if (request.cuda !== undefined) return 'nvidia';
  const message = 'the driver is to be chosen by the GPUs, and no GPU is named';
  return { rule: 'unknown', message, about: [USE], near: [] };
}

/** The driver comes with the kernel: there is one, or what the sources add to it. */
function inKernel(ask: DriverAsk, vendor: GpuVendor, { context }: Named): DriverCandidate[] {
  const offered = (context.offers?.drivers ?? []).filter(
    (offer) =>
      offer.vendor === vendor &&
      (offer.layer === ask.use || VENDORS.has(ask.use) || ask.use === 'auto' || ask.use === 'any'),
  );
  return offered.length === 0 ? [{ vendor }] : offered.map((offer) => ({ vendor, offer }));
}

function nvidiaCandidates(ask: DriverAsk, named: Named): DriverCandidate[] {
  const { branches } = named.index.facts.nvidia;
  const offers = named.context.offers?.drivers;
  if (offers !== undefined) {
    const wanted = offers.filter(
      ({ vendor, layer }) =>
        vendor === 'nvidia' && (layer === ask.use || ask.use === 'nvidia' || ask.use === 'auto'),
    );
    return wanted.flatMap((offer) => {
      const { version, flavours } = offer;
      return version === undefined ? [] : made(version, branches.get(branchOf(version)), flavours, offer);
    });
  }
  const admitted = ask.use.endsWith('-open')
    ? 'open'
    : ask.use.endsWith('-proprietary')
      ? 'proprietary'
      : undefined;
  const versions = named.index.drivers.map(({ version }) => version);
  // A release that has no row of its own is judged by its branch.
  const { version } = ask;
  if (
    version !== undefined &&
    isDriverVersion(version) &&
    !versions.some((one) => startsWithVersion(one, version))
  ) {
    versions.push(version);
  }
  return versions.flatMap((one) => {
    const branch = branches.get(branchOf(one));
    const flavours = (branch?.flavours ?? []).filter((flavour) => (admitted ?? flavour) === flavour);
    return branch === undefined ? [] : made(one, branch, flavours);
  });
}

function made(
  version: DriverVersion,
  branch: DriverBranch | undefined,
  flavours: readonly ModuleFlavour[],
  offer?: DriverOffer,
): DriverCandidate[] {
  return flavours.map((flavour) => ({
    vendor: 'nvidia',
    version,
    flavour,
    ...(branch !== undefined && { branch }),
    ...(offer !== undefined && { offer }),
  }));
}

/** In the order of preference. */
const TIERS = ['long-term', 'supported', 'unstated', 'preview', 'over'] as const;
export type SupportTier = (typeof TIERS)[number];

/** How long a branch is mended, on a day. A branch of which nothing is known is `unstated`. */
export function supportTier(branch: DriverBranch | undefined, now: string): SupportTier {
  if (isOver(branch, now)) return 'over';
  switch (branch?.status) {
    case 'supported':
      return branch.type === 'long-term' ? 'long-term' : 'supported';
    case 'eol':
      return 'over';
    case 'preview':
      return 'preview';
    case 'unknown':
    case undefined:
      return 'unstated';
  }
}

/** What `auto` may choose. */
export function isEligible(branch: DriverBranch | undefined, now: string): boolean {
  return rankOf(branch, now) < TIERS.indexOf('preview');
}

export function rankOf(branch: DriverBranch | undefined, now: string): number {
  return TIERS.indexOf(supportTier(branch, now));
}

/** A month counts to its end. */
function isOver(branch: DriverBranch | undefined, now: string): boolean {
  const end = branch?.endOfLife;
  return end !== undefined && now.slice(0, end.length) > end;
}

function inPreference(candidates: readonly DriverCandidate[], named: Named): DriverCandidate[] {
  const ranked = candidates.map((candidate) => {
    const { version, branch, flavour, offer } = candidate;
    const preferred =
      version === undefined ? undefined : named.isDataCenter ? 'open' : defaultFlavour(version, named);
    return {
      candidate,
      tier: rankOf(branch, named.context.now),
      flavour: flavour === preferred ? 0 : 1,
      source: `${offer?.layer ?? ''} ${offer?.packageVersion ?? ''} ${flavour ?? ''}`,
    };
  });
  ranked.sort(
    (a, b) =>
      a.tier - b.tier ||
      newerFirst(a.candidate.version, b.candidate.version) ||
      a.flavour - b.flavour ||
      (a.source < b.source ? -1 : 1),
  );
  return ranked.map(({ candidate }) => candidate);
}

function newerFirst(left: DriverVersion | undefined, right: DriverVersion | undefined): number {
  return left === undefined || right === undefined ? 0 : compareVersions(right, left);
}

/** What NVIDIA's installer takes when nobody says: proprietary modules until a rule says otherwise. */
export function defaultFlavour(version: DriverVersion, { index }: Pick<Named, 'index'>): ModuleFlavour {
  const rule = index.facts.nvidia.moduleRules.find(
    ({ isDefault, driver }) => isDefault && driver !== undefined && rangeAdmits(driver, version),
  );
  return rule === undefined || rule.then === 'refuse' ? 'proprietary' : rule.then;
}

function versionGap(ask: DriverAsk, every: readonly DriverCandidate[], named: Named): Gap {
  const { version } = ask;
  if (version === undefined) {
    return { rule: 'offered', message: `no source offers the driver ${ask.use}`, about: [USE], near: [] };
  }
  const versions = [...new Set(every.map((one) => one.version ?? ''))].sort(byVersion);
  const branchNames = branchesOf(versions);
  const near = [
    ...new Set([
      ...nearest(version, versions),
      ...nearest(version, branchNames),
      ...nearestVersions(version, branchNames),
    ]),
  ].slice(0, 3);
  const known = named.index.facts.nvidia.branches.has(Number.parseInt(version, 10));
  const facts = named.context.offers?.drivers === undefined;
  const list = branchesOf(versions).toReversed().join(', ');
  const message = facts
    ? known
      ? `no release ${version} of the NVIDIA driver is known`
      : `there is no NVIDIA driver ${version}; branches: ${list}`
    : `no source offers the NVIDIA driver ${version}; offered: ${versions.join(', ') || 'none'}`;
  return { rule: facts ? 'unknown' : 'offered', message, about: [VERSION], near };
}

function byVersion(left: string, right: string): number {
  return compareVersions(left as DriverVersion, right as DriverVersion);
}

function branchesOf(versions: readonly string[]): string[] {
  return [...new Set(versions.map((version) => version.split('.', 1)[0] ?? ''))];
}

function nameOfAsk({ use, version }: DriverAsk): string {
  return version === undefined ? use : `${use}@${version}`;
}

function sourceWords({ context }: Named): string {
  return context.offers?.drivers === undefined ? '' : ' in any source';
}

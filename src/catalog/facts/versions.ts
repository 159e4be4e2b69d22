/**
 * The version numbers that facts speak of. Each kind is a branded string, so that a driver is never compared with
 * a kernel, and all are ordered number by number: 570.86.15 is before 570.124.04, and 13.10 after 13.9.
 */

declare const driverBrand: unique symbol;
/** An NVIDIA driver release, such as `580.142` or `550.163.01`. The first number is its branch. */
export type DriverVersion = string & { readonly [driverBrand]: true };

declare const cudaBrand: unique symbol;
/** A CUDA release, `13.0` or `13.0.2`. */
export type CudaVersion = string & { readonly [cudaBrand]: true };

declare const kernelBrand: unique symbol;
/** An upstream Linux version without the distribution's suffix: `6.12` (a series) or `6.12.94`. */
export type KernelVersion = string & { readonly [kernelBrand]: true };

declare const capabilityBrand: unique symbol;
/** A CUDA compute capability, such as `9.0`. */
export type ComputeCapability = string & { readonly [capabilityBrand]: true };

declare const softwareBrand: unique symbol;
/** A release of a runtime or a library: dotted numbers, with at most one `rcN` or `.postN`. */
export type SoftwareVersion = string & { readonly [softwareBrand]: true };

/** Any of the kinds above. */
export type FactVersion = DriverVersion | CudaVersion | KernelVersion | ComputeCapability | SoftwareVersion;

/** What each kind looks like. */
export const VERSION_PATTERNS = {
  driver: /^[1-9]\d{2}(?:\.\d{1,4}){1,2}$/,
  cuda: /^[1-9]\d?\.\d{1,2}(?:\.\d{1,2})?$/,
  kernel: /^[1-9]\d?(?:\.\d{1,3}){1,2}$/,
  capability: /^[1-9]\d?\.\d$/,
  software: /^\d{1,4}(?:\.\d{1,4}){0,3}(?:rc\d{1,3}|\.post\d{1,3})?$/,
} as const;

export function isDriverVersion(text: string): text is DriverVersion {
  return VERSION_PATTERNS.driver.test(text);
}

export function isCudaVersion(text: string): text is CudaVersion {
  return VERSION_PATTERNS.cuda.test(text);
}

export function isKernelVersion(text: string): text is KernelVersion {
  return VERSION_PATTERNS.kernel.test(text);
}

export function isComputeCapability(text: string): text is ComputeCapability {
  return VERSION_PATTERNS.capability.test(text);
}

export function isSoftwareVersion(text: string): text is SoftwareVersion {
  return VERSION_PATTERNS.software.test(text);
}

/** @throws TypeError when the text is not a driver version */
export function parseDriverVersion(text: string): DriverVersion {
  if (!isDriverVersion(text)) throw new TypeError(`not a driver version: ${JSON.stringify(text)}`);
  return text;
}

/** @throws TypeError when the text is not a CUDA version */
export function parseCudaVersion(text: string): CudaVersion {
  if (!isCudaVersion(text)) throw new TypeError(`not a CUDA version: ${JSON.stringify(text)}`);
  return text;
}

/**
 * The upstream version at the head of a kernel release or package version: `6.12.94` of `6.12.94+deb13-amd64`.
 *
 * @throws TypeError when there is none
 */
export function parseKernelVersion(text: string): KernelVersion {
  const head = /^\d+(?:\.\d+){1,2}/.exec(text)?.[0] ?? '';
  if (!isKernelVersion(head)) throw new TypeError(`not a kernel version: ${JSON.stringify(text)}`);
  return head;
}

/** @throws TypeError when the text is not a compute capability */
export function parseComputeCapability(text: string): ComputeCapability {
  if (!isComputeCapability(text)) throw new TypeError(`not a compute capability: ${JSON.stringify(text)}`);
  return text;
}

/** @throws TypeError when the text is not a version of a runtime */
export function parseSoftwareVersion(text: string): SoftwareVersion {
  if (!isSoftwareVersion(text)) throw new TypeError(`not a version: ${JSON.stringify(text)}`);
  return text;
}

/** The branch of a driver: 580 of `580.142`. */
export function branchOf(version: DriverVersion): number {
  return Number.parseInt(version, 10);
}

/** The first number: 13 of CUDA `13.0.2`. */
export function majorOf(version: FactVersion): number {
  return Number.parseInt(version, 10);
}

/** The first two numbers: `6.12` of `6.12.94`, `13.0` of `13.0.2`. */
export function seriesOf<V extends KernelVersion | CudaVersion>(version: V): V {
  const first = version.indexOf('.');
  const second = first < 0 ? -1 : version.indexOf('.', first + 1);
  return second < 0 ? version : (version.slice(0, second) as V);
}

/**
 * Negative, zero or positive, as for `Array.sort`. A total order; missing numbers count as zero, so `565.77` and
 * `565.77.00` compare equal, and a release candidate comes before its release.
 */
export function compareVersions<V extends FactVersion>(left: V, right: V): number {
  const [a, b] = [numbersOf(left), numbersOf(right)];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return suffixOf(left) - suffixOf(right);
}

/** Candidates below zero, the release itself zero, post-releases above. */
function suffixOf(version: string): number {
  if (!version.includes('rc') && !version.includes('post')) return 0;
  const [, kind, digits = '0'] = /(rc|\.post)(\d+)$/.exec(version) ?? [];
  if (kind === undefined) return 0;
  return kind === 'rc' ? Number(digits) - 1000 : Number(digits) + 1;
}

/** The solver compares the same few thousand versions over and over. */
const numbersByVersion = new Map<string, readonly number[]>();
const MAX_REMEMBERED = 20_000;

function numbersOf(version: string): readonly number[] {
  const known = numbersByVersion.get(version);
  if (known !== undefined) return known;
  const numbers = version
    .replace(/(?:rc|\.post)\d+$/, '')
    .split('.')
    .map(Number);
  if (numbersByVersion.size >= MAX_REMEMBERED) numbersByVersion.clear();
  numbersByVersion.set(version, numbers);
  return numbers;
}

export interface Bound {
  readonly operator: '>=' | '>' | '<=' | '<' | '=';
  /** As precise as written: `580`, `6.15` and `525.60.13` are all bounds. */
  readonly version: string;
}

declare const rangeOf: unique symbol;

/** All bounds must hold; a range without bounds admits everything. */
export interface Range<V extends FactVersion> {
  /** As a person reads it, such as `>= 525.60.13, < 580`. */
  readonly text: string;
  readonly bounds: readonly Bound[];
  /** Only in the type: a range of drivers admits no kernel. */
  readonly [rangeOf]?: V;
}

const BOUND = /^(>=|<=|>|<|=)?\s*(\d{1,4}(?:\.\d{1,4}){0,3})$/;

/**
 * Parses `>= 525.60.13, < 580`. A bare version is `=`, and every bound is compared at the precision it is written
 * in: `= 6.12` and `<= 6.12` admit 6.12.94, `> 580` admits no 580.142.
 *
 * @returns undefined when the text is not a range
 */
export function parseRange<V extends FactVersion>(text: string): Range<V> | undefined {
  const bounds: Bound[] = [];
  for (const part of text.split(',')) {
    const [, operator = '=', version] = BOUND.exec(part.trim()) ?? [];
    if (version === undefined) return undefined;
    bounds.push({ operator: operator as Bound['operator'], version });
  }
  return { text, bounds };
}

export function rangeAdmits<V extends FactVersion>(range: Range<V>, version: V): boolean {
  return range.bounds.every(({ operator, version: bound }) => {
    const difference = compareAtPrecision(version, bound);
    switch (operator) {
      case '>=':
        return difference >= 0;
      case '>':
        return difference > 0;
      case '<=':
        return difference <= 0;
      case '<':
        return difference < 0;
      case '=':
        return difference === 0;
    }
  });
}

/** True when no version can be in the range, as in `>= 580, < 570`. */
export function rangeIsEmpty(range: Range<FactVersion>): boolean {
  // The least version of each lower bound: the greatest of them is in the range, or nothing is.
  const least = range.bounds.flatMap(({ operator, version }) => {
    if (operator === '<' || operator === '<=') return [];
    return operator === '>' ? [successor(version)] : [version];
  });
  return least.length > 0 && !least.some((version) => rangeAdmits(range, version as FactVersion));
}

/** The least version after all that begin with this one: 581 of 580, 6.13 of 6.12. */
function successor(version: string): string {
  const numbers = numbersOf(version);
  return [...numbers.slice(0, -1), (numbers.at(-1) ?? 0) + 1].join('.');
}

/** Of the version only as many numbers count as the bound has. */
function compareAtPrecision(version: string, bound: string): number {
  const left = numbersOf(version);
  for (const [index, number] of numbersOf(bound).entries()) {
    const difference = (left[index] ?? 0) - number;
    if (difference !== 0) return difference;
  }
  return 0;
}

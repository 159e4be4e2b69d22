/** Which kernels a driver's modules build for and run on. */
import { preparedKernel } from '../../../catalog/facts/lookup.ts';
import type { KernelReport, OtherGpu } from '../../../catalog/facts/types.ts';
import {
  compareVersions,
  isKernelVersion,
  rangeAdmits,
  seriesOf,
  type KernelVersion,
} from '../../../catalog/facts/versions.ts';
import type { Problem } from '../problem.ts';
import type { FitContext, FitRequest } from '../request.ts';
import {
  note,
  refuse,
  refuseSurely,
  warn,
  type Candidate,
  type DriverCandidate,
  type Judgement,
  type KernelCandidate,
  type Rule,
} from '../rule.ts';

export const KERNEL_RULES: readonly Rule[] = [
  {
    id: 'kernel-minimum',
    statement: 'A driver needs a kernel that is not older than its minimum.',
    stage: 'kernel',
    judge: kernelMinimum,
  },
  {
    id: 'kernel-report',
    statement: 'A build that was tried beats every estimate.',
    stage: 'kernel',
    judge: kernelReports,
  },
  {
    id: 'kernel-headers',
    statement: 'A driver whose modules are built from source needs the headers of its kernel.',
    stage: 'kernel',
    judge: kernelHeaders,
  },
  {
    id: 'kernel-prepared',
    statement: 'A driver may not build on a kernel newer than the newest it was prepared for.',
    stage: 'kernel',
    judge: kernelPrepared,
  },
  {
    id: 'kernel-gpu',
    statement: 'A driver that is part of the kernel knows a GPU from some kernel on.',
    stage: 'kernel',
    judge: kernelGpu,
  },
  {
    id: 'kernel-module',
    statement: 'A driver that is part of the kernel must be in the kernel that is installed.',
    stage: 'host',
    judge: kernelModule,
  },
];

const ABOUT = [{ kind: 'kernel' }, { kind: 'driver-version' }] as const;

function kernelMinimum({ driver, kernel }: Candidate, { index }: Problem): Judgement[] {
  const version = driver?.version;
  if (version === undefined || kernel === undefined) return [];
  return index.facts.nvidia.kernelMinimums.flatMap((row) =>
    rangeAdmits(row.driver, version) && compareVersions(kernel.version, row.kernel) < 0
      ? [refuse(`driver ${version} needs Linux ${row.kernel} or later, not ${kernel.version}`, [row], ABOUT)]
      : [],
  );
}

function kernelReports({ driver, kernel }: Candidate, problem: Problem): Judgement[] {
  if (kernel === undefined) return [];
  return problem.index.facts.nvidia.kernelReports.flatMap((report) => {
    if (report.result !== 'fails') return [];
    if (report.component !== 'driver') return componentReport(report, kernel, problem);
    if (driver?.version === undefined || !speaksOf(report, driver, problem)) return [];
    const { version } = driver;
    const name = driver.offer?.packageVersion ?? version;
    const why = report.symptom === undefined ? '' : ` (${report.symptom})`;
    if (!admitsKernel(report, kernel)) {
      return couldAdmit(report, kernel)
        ? [
            note(
              `driver ${name} does not build on some releases of Linux ${kernel.version}${why}: ${report.kernel.text}`,
              [report],
              ABOUT,
            ),
          ]
        : [];
    }
    if (report.patch !== undefined) {
      const message = `driver ${name} builds on Linux ${kernel.version} only with the patch ${report.patch}${why}; Ingot applies it`;
      return [warn(message, [report], ABOUT, { patch: report.patch })];
    }
    const fix = report.fixedBy === undefined ? '' : `; fixed by ${report.fixedBy}`;
    return [refuse(`driver ${name} does not build on Linux ${kernel.version}${why}${fix}`, [report], ABOUT)];
  });
}

/** Modules that an addon brings, such as nvidia-fs. */
function componentReport(report: KernelReport, kernel: KernelCandidate, { request }: Problem): Judgement[] {
  const index = request.addons.indexOf(report.component);
  if (index < 0 || !admitsKernel(report, kernel)) return [];
  const why = report.symptom === undefined ? '' : ` (${report.symptom})`;
  const message = `${report.component} does not build on Linux ${kernel.version}${why}`;
  return [refuse(message, [report], [{ kind: 'addon', index }, { kind: 'kernel' }])];
}

function speaksOf(
  report: KernelReport,
  { version, flavour, offer }: DriverCandidate,
  { request }: Problem,
): boolean {
  if (version === undefined || report.driver === undefined || !rangeAdmits(report.driver, version))
    return false;
  if (report.modules !== undefined && flavour !== undefined && report.modules !== flavour) return false;
  if (report.fixedBy !== undefined && compareVersions(version, report.fixedBy) >= 0) return false;
  if (report.packages === undefined) return true;
  const { distribution, versions } = report.packages;
  return isOf(request.distribution, distribution) && versions.includes(offer?.packageVersion ?? '');
}

/** `debian@13` is of `debian` and of `debian@13`. */
export function isOf(distribution: string | undefined, wanted: string): boolean {
  return distribution === wanted || distribution?.split('@', 1)[0] === wanted;
}

/** A kernel of which only the series is known is in no range that speaks of its releases. */
function admitsKernel(report: KernelReport, kernel: KernelCandidate): boolean {
  return rangeAdmits(report.kernel, kernel.version) && (kernel.exact || !speaksOfReleases(report));
}

function couldAdmit(report: KernelReport, kernel: KernelCandidate): boolean {
  if (kernel.exact || !speaksOfReleases(report)) return false;
  return report.kernel.bounds.some(
    ({ version }) => isKernelVersion(version) && seriesOf(version) === kernel.version,
  );
}

function speaksOfReleases({ kernel }: KernelReport): boolean {
  return kernel.bounds.some(({ version }) => version.split('.').length > 2);
}

function kernelHeaders({ driver, kernel }: Candidate): Judgement[] {
  if (driver?.version === undefined || kernel?.image?.lacksHeaders !== true) return [];
  const message = `the package indexes have no headers of the kernel ${kernel.image.version}: the modules of driver ${driver.version} cannot be built for it`;
  return [refuseSurely(message, [], ABOUT)];
}

function kernelPrepared({ driver, kernel }: Candidate, problem: Problem): Judgement[] {
  const version = driver?.version;
  if (version === undefined || kernel === undefined) return [];
  const series = seriesOf(kernel.version);
  const { nvidia } = problem.index.facts;
  const tested = nvidia.distributionDrivers.find(
    (row) =>
      isOf(problem.request.distribution, row.distribution) &&
      (driver?.offer?.packageVersion ?? '').startsWith(row.version) &&
      compareVersions(series, row.kernel) <= 0,
  );
  const prepared = preparedKernel(nvidia, version);
  if (prepared === undefined || compareVersions(series, prepared.kernel) <= 0) return [];
  if (tested !== undefined) {
    return [
      note(`the distribution tests driver ${tested.version} up to Linux ${tested.kernel}`, [tested], ABOUT),
    ];
  }
  const works = nvidia.kernelReports.find(
    (report) =>
      report.result === 'works' &&
      report.component === 'driver' &&
      report.driver !== undefined &&
      rangeAdmits(report.driver, version) &&
      couldBe(
        report.kernel.bounds.map((bound) => bound.version),
        series,
      ),
  );
  if (works !== undefined) return [note(`driver ${version} was built on Linux ${series}`, [works], ABOUT)];
  const nearest = prepared.exact
    ? ''
    : ` (as of ${prepared.release.version}, the nearest older release that is known)`;
  const message = `driver ${version} was prepared for Linux up to ${prepared.kernel}${nearest}; it may not build on ${kernel.version}`;
  return [warn(message, [prepared.release], ABOUT)];
}

function couldBe(bounds: readonly string[], series: KernelVersion): boolean {
  return bounds.some((version) => isKernelVersion(version) && seriesOf(version) === series);
}

function kernelGpu({ kernel }: Candidate, { gpus }: Problem): Judgement[] {
  return gpus.flatMap(({ element, gpu }) => {
    if (gpu.vendor === 'nvidia') return [];
    if (!gpu.mainline) return [warn(vendorModule(gpu), [gpu], [element])];
    if (kernel === undefined || gpu.kernel === undefined || compareVersions(kernel.version, gpu.kernel) >= 0)
      return [];
    const message = `${gpu.product} needs Linux ${gpu.kernel} or later, not ${kernel.version}`;
    return [refuse(message, [gpu], [{ kind: 'kernel' }, element])];
  });
}

function kernelModule(_: Candidate, { gpus, request, context, index }: Problem): Judgement[] {
  return gpus.flatMap(({ element, gpu }) => {
    if (gpu.vendor === 'nvidia' || !gpu.mainline) return [];
    const layer = layerWithout(gpu.kernelDriver, request, context);
    if (layer === undefined) return [];
    const message = `${gpu.product} needs the kernel module ${gpu.kernelDriver}, which the layer kernel/${layer} lacks`;
    // Which of its drivers a GPU takes may be in doubt; that a kernel without any of them drives it is not.
    const drivers = index.facts.otherGpus.flatMap(({ vendor, mainline, kernelDriver }) =>
      vendor === gpu.vendor && mainline ? [kernelDriver] : [],
    );
    const isSure = drivers.every((driver) => layerWithout(driver, request, context) !== undefined);
    return [(isSure ? refuseSurely : refuse)(message, [gpu], [{ kind: 'kernel' }, element])];
  });
}

/** The kernel layer that was asked for, when it is known to lack a module. */
export function layerWithout(
  module: string,
  { kernel }: FitRequest,
  { offers }: FitContext,
): string | undefined {
  const layers = offers?.kernelLayers ?? [];
  return layers.find(({ layer, lacks }) => layer === kernel?.flavour && lacks.includes(module))?.layer;
}

function vendorModule({ product, kernelDriver }: OtherGpu): string {
  return `${product} is not driven by the kernel’s own ${kernelDriver}: the vendor’s module is needed`;
}

/** What is known of building a driver's modules for a kernel: builds that were tried, and patches. Pure. */
import { compareVersions, isDriverVersion, isKernelVersion, rangeAdmits } from '../catalog/facts/versions.ts';
import type { Facts, KernelReport, ModuleFlavour } from '../catalog/facts/types.ts';
import type { NodeImage } from '../spec/node-image.ts';
import type { Choice } from './choice.ts';
import { isOf } from './fit/rules/kernel-rules.ts';
import type { Lock, LockedPatch } from './lock.ts';

/** A module source and the kernel that it is built for. */
export interface ModulePair {
  /** `driver`, or the name of the addon that brings the modules. */
  readonly component: string;
  /** Of the driver. */
  readonly version?: string;
  readonly flavour?: ModuleFlavour | undefined;
  /** Of the package that holds the source. */
  readonly packageVersion: string;
  /** Such as `debian@13`. */
  readonly distribution: string;
  /** As the kernel's package has it, such as `6.12.117-1`. */
  readonly kernelVersion: string;
}

/** The pair of one of the layers that bring modules. */
export function modulePair(
  { base }: Pick<NodeImage, 'base'>,
  { driver }: Pick<Choice, 'driver'>,
  kernel: Pick<Lock['kernel'], 'version'>,
  modules: { readonly layer: string; readonly packageVersion: string },
): ModulePair {
  const { layer, packageVersion } = modules;
  const common = {
    packageVersion,
    distribution: `${base.name}@${base.release}`,
    kernelVersion: kernel.version,
  };
  if (driver === undefined || layer !== `driver-${driver.layer.definition.name}`) {
    return { ...common, component: layer.replace(/^[a-z]+-/, '') };
  }
  const version = driver.offer?.version;
  const flavour = driver.layer.definition.modules?.flavour;
  return { ...common, component: 'driver', flavour, ...(version !== undefined && { version }) };
}

/** Builds of this very pair that somebody tried. */
export function reportsOn({ nvidia }: Pick<Facts, 'nvidia'>, pair: ModulePair): readonly KernelReport[] {
  const kernel = /^\d+(?:\.\d+){1,2}/.exec(pair.kernelVersion)?.[0] ?? '';
  if (!isKernelVersion(kernel)) return [];
  return nvidia.kernelReports.filter(
    (report) =>
      report.component === pair.component && rangeAdmits(report.kernel, kernel) && speaksOf(report, pair),
  );
}

function speaksOf({ driver, modules, fixedBy, packages }: KernelReport, pair: ModulePair): boolean {
  if (modules !== undefined && modules !== pair.flavour) return false;
  if (packages !== undefined) {
    const { distribution, versions } = packages;
    if (!isOf(pair.distribution, distribution) || !versions.includes(pair.packageVersion)) return false;
  }
  if (driver === undefined) return true;
  const { version } = pair;
  if (version === undefined || !isDriverVersion(version) || !rangeAdmits(driver, version)) return false;
  return fixedBy === undefined || compareVersions(version, fixedBy) < 0;
}

/** Patches without which the pair does not build, in name order. */
export function patchesFor(facts: Pick<Facts, 'nvidia' | 'patches'>, pair: ModulePair): LockedPatch[] {
  const names = reportsOn(facts, pair).flatMap(({ result, patch }) =>
    result === 'fails' && patch !== undefined ? [patch] : [],
  );
  return [...new Set(names)].sort().map((name) => {
    const patch = facts.patches.get(name);
    if (patch === undefined) throw new TypeError(`the facts name a patch ${name} that they do not hold`);
    return { name, sha256: patch.sha256 };
  });
}

/** Contradictions between rows. Each is reported at the row that a reader would mend. */
import type { Report } from './assemble-nvidia.ts';
import type { Facts, Gpu, NvidiaFacts, Row } from './types.ts';
import { branchOf, compareVersions, majorOf, type DriverVersion } from './versions.ts';

export function checkFacts(facts: Facts, report: Report): void {
  checkArchitectures(facts.nvidia, report);
  checkBranches(facts.nvidia, report);
  checkReleaseReferences(facts.nvidia, report);
  checkGpus(facts.nvidia, report);
  checkNames(facts, report);
  checkPciIds([...facts.nvidia.gpus, ...facts.otherGpus], report);
  checkKernelReports(facts.nvidia, report);
  checkRuntimes(facts, report);
}

function checkArchitectures({ architectures, capabilities }: NvidiaFacts, report: Report): void {
  for (const architecture of architectures.values()) {
    const { title, firstBranch, lastBranch } = architecture;
    if (lastBranch !== undefined && lastBranch < firstBranch) {
      report(`${title} ends at branch ${lastBranch}, before its first branch ${firstBranch}`, architecture);
    }
  }
  for (const row of capabilities.values()) {
    const architecture = architectures.get(row.architecture);
    if (architecture === undefined) {
      report(`there is no architecture ${JSON.stringify(row.architecture)}`, row);
    } else if (
      architecture.lastCudaMajor !== undefined &&
      majorOf(row.firstCuda) > architecture.lastCudaMajor
    ) {
      report(
        `compute capability ${row.capability} begins with CUDA ${row.firstCuda}, after ${architecture.title} ends with CUDA ${architecture.lastCudaMajor}`,
        row,
      );
    }
  }
}

function checkBranches({ branches, releases }: NvidiaFacts, report: Report): void {
  for (const row of branches.values()) {
    const { branch, listed } = row;
    if (listed === undefined) continue;
    for (const version of [listed.first, listed.last]) {
      if (branchOf(version) !== branch) report(`${version} is not in branch ${branch}`, row);
      else if (!releases.has(version)) report(`${version} is not in releases.yaml`, row);
    }
    if (compareVersions(listed.first, listed.last) > 0) {
      report(`the first listed release ${listed.first} comes after the last, ${listed.last}`, row);
    }
  }
  for (const release of releases.values()) {
    if (!branches.has(release.branch)) {
      report(
        `${release.version} belongs to branch ${release.branch}, which branches.yaml does not have`,
        release,
      );
    }
  }
}

/** Versions that other tables name: where their branch is known, they must be known too. */
function checkReleaseReferences(nvidia: NvidiaFacts, report: Report): void {
  const check = (version: DriverVersion | undefined, row: Row): void => {
    if (version === undefined || !nvidia.branches.has(branchOf(version))) return;
    if (!nvidia.releases.has(version)) report(`${version} is not in releases.yaml`, row);
  };
  for (const toolkit of nvidia.toolkits.values()) check(toolkit.driver, toolkit);
  for (const row of nvidia.kernelReports) check(row.fixedBy, row);
  for (const gpu of nvidia.gpus) for (const version of gpu.since.values()) check(version, gpu);
  for (const row of nvidia.forwardCompatibility.values()) {
    for (const branch of row.branches) {
      if (!nvidia.branches.has(branch)) report(`there is no branch ${branch} in branches.yaml`, row);
    }
  }
}

function checkGpus({ gpus }: NvidiaFacts, report: Report): void {
  for (const gpu of gpus) {
    const { title, firstBranch, lastBranch = Number.POSITIVE_INFINITY } = gpu.architecture;
    for (const [branch, version] of gpu.since) {
      if (branch < firstBranch || branch > lastBranch) {
        report(
          `${gpu.product} is said to be in ${version}, but branch ${branch} does not support ${title}`,
          gpu,
        );
      }
    }
    if (gpu.modules === 'either' && gpu.architecture.modules !== 'either') {
      report(
        `${gpu.product} cannot take either flavour: ${title} takes ${gpu.architecture.modules} modules only`,
        gpu,
      );
    }
  }
}

/** Every name means one thing: an alias one product, a series some, an architecture all of a generation. */
function checkNames({ nvidia, otherGpus }: Facts, report: Report): void {
  const gpus: readonly Gpu[] = [...nvidia.gpus, ...otherGpus];
  const owners = new Map<string, string>();
  const claim = (name: string, owner: string, row: Row): void => {
    const other = owners.get(name);
    if (other === undefined) owners.set(name, owner);
    else report(`${JSON.stringify(name)} is already the name of ${other}`, row);
  };
  for (const architecture of nvidia.architectures.values()) {
    for (const name of [architecture.name, ...architecture.aliases]) {
      claim(name, `the architecture ${architecture.title}`, architecture);
    }
  }
  for (const gpu of gpus) for (const name of gpu.aliases) claim(name, gpu.product, gpu);
  for (const gpu of gpus) {
    for (const name of gpu.series) {
      const owner = owners.get(name);
      if (owner !== undefined)
        report(`the series ${JSON.stringify(name)} is already the name of ${owner}`, gpu);
    }
  }
  const known = new Set([...owners.keys(), ...gpus.flatMap((gpu) => gpu.series)]);
  for (const row of [...nvidia.floors, ...nvidia.issues]) {
    for (const name of 'gpus' in row ? row.gpus : (row.when.gpus ?? [])) {
      if (!known.has(name)) report(`no GPU is called ${JSON.stringify(name)}`, row);
    }
  }
}

/** Products may share an id only when subsystem ids tell each from the others. */
function checkPciIds(gpus: readonly Gpu[], report: Report): void {
  const owners = new Map<string, Gpu>();
  for (const gpu of gpus) {
    for (const id of gpu.pci) {
      const subsystems = gpu.vendor === 'nvidia' && gpu.subsystems.length > 0 ? gpu.subsystems : ['*'];
      for (const subsystem of subsystems) {
        const key = `${id} ${subsystem}`;
        const other = owners.get(key);
        if (other === undefined) owners.set(key, gpu);
        else report(`${gpu.product} has the PCI id ${id} of ${other.product}`, gpu);
      }
    }
  }
}

function checkKernelReports({ kernelReports }: NvidiaFacts, report: Report): void {
  const seen = new Map<string, (typeof kernelReports)[number]>();
  for (const row of kernelReports) {
    const key = JSON.stringify([row.component, row.driver?.text, row.kernel.text, row.modules, row.packages]);
    const other = seen.get(key);
    if (other !== undefined && other.result !== row.result) {
      report(`this build ${row.result}, but it ${other.result} in line ${other.location.line}`, row);
    }
    seen.set(key, row);
    if (row.result === 'works' && row.fixedBy !== undefined) {
      report('a build that works needs no `fixedBy`', row);
    }
  }
}

function checkRuntimes({ runtimes, wheels, runtimeFeatures, nvidia }: Facts, report: Report): void {
  const names = new Set<string>();
  for (const runtime of runtimes.values()) {
    for (const name of [runtime.name, ...runtime.aliases]) {
      if (names.has(name)) report(`${JSON.stringify(name)} is already the name of a runtime`, runtime);
      names.add(name);
    }
  }
  for (const runtime of runtimes.values()) {
    for (const successor of runtime.successors) {
      if (!runtimes.has(successor)) report(`there is no runtime ${JSON.stringify(successor)}`, runtime);
    }
  }
  for (const row of runtimeFeatures) {
    if (!runtimes.has(row.runtime)) report(`there is no runtime ${JSON.stringify(row.runtime)}`, row);
    if (!nvidia.capabilities.has(row.minCapability)) {
      report(`compute capability ${row.minCapability} is not in architectures.yaml`, row);
    }
  }
  for (const row of wheels) {
    for (const { capabilities, ptx } of row.architectures.values()) {
      for (const capability of capabilities) {
        if (!nvidia.capabilities.has(capability)) {
          report(`compute capability ${capability} is not in architectures.yaml`, row);
        }
      }
      if (ptx !== undefined && !capabilities.includes(ptx)) {
        report(`PTX is for ${ptx}, which the wheel has no kernels for`, row);
      }
    }
  }
}

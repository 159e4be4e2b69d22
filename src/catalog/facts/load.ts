/**
 * Reads the facts: `drivers/nvidia/*.yaml`, `drivers/nvidia/gpus/*.yaml`, `drivers/amd.yaml`, `drivers/intel.yaml`
 * and `drivers/runtimes.yaml`. All mistakes and contradictions of all files are collected before any is thrown.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { digestOf, digestOfJson, hexOf } from '../../digest.ts';
import { errnoOf, FindingsError, IngotError } from '../../errors.ts';
import { sortFindings } from '../../spec/findings.ts';
import { assembleNvidia, type NvidiaTables, type Report } from './assemble-nvidia.ts';
import { assembleGpus, assembleRuntimes, assembleStacks } from './assemble-others.ts';
import { checkFacts } from './check.ts';
import { readSourceText } from '../../spec/source-text.ts';
import { FactReader } from './table-reader.ts';
import {
  ArchitecturesTable,
  BranchesTable,
  CompatTable,
  CudaTable,
  FabricTable,
  GpusTable,
  IssuesTable,
  KernelsTable,
  ModulesTable,
  ReleasesTable,
} from './tables-nvidia.ts';
import { RuntimesTable, VendorTable } from './tables-others.ts';
import type { Facts, KernelReport, ModulePatch } from './types.ts';

/**
 * @param folder `drivers/` of the product
 * @throws FindingsError FACTS_INVALID with every mistake and contradiction
 */
export async function loadFacts(folder: string): Promise<Facts> {
  const reader = new FactReader(folder);
  const gpuFiles = await listFacts(folder, join('nvidia', 'gpus'));
  const nvidia = await readNvidia(reader, gpuFiles);
  const amd = await reader.read('amd.yaml', VendorTable);
  const intel = await reader.read('intel.yaml', VendorTable);
  const runtimes = await reader.read('runtimes.yaml', RuntimesTable);
  await refuseStrangers(reader, folder, gpuFiles);

  if (nvidia === undefined || amd === undefined || intel === undefined || runtimes === undefined) {
    throw new FindingsError(sortFindings(reader.findings));
  }
  const report: Report = (message, { location }) => {
    reader.report(message, location);
  };
  const assembled = assembleNvidia(nvidia, report);
  const facts: Facts = {
    digest: digestOfJson(Object.fromEntries(reader.values)),
    nvidia: assembled,
    patches: await readPatches(folder, assembled.kernelReports, report),
    otherGpus: [...assembleGpus('amd', amd), ...assembleGpus('intel', intel)],
    computeStacks: [...assembleStacks('amd', amd), ...assembleStacks('intel', intel)],
    ...assembleRuntimes(runtimes, report),
  };
  checkFacts(facts, report);
  if (reader.findings.length > 0) throw new FindingsError(sortFindings(reader.findings));
  return facts;
}

/** Undefined when any of the tables cannot be used. */
async function readNvidia(
  reader: FactReader,
  gpuFiles: readonly string[],
): Promise<NvidiaTables | undefined> {
  const architectures = await reader.read('nvidia/architectures.yaml', ArchitecturesTable);
  const branches = await reader.read('nvidia/branches.yaml', BranchesTable);
  const releases = await reader.read('nvidia/releases.yaml', ReleasesTable);
  const modules = await reader.read('nvidia/modules.yaml', ModulesTable);
  const kernels = await reader.read('nvidia/kernels.yaml', KernelsTable);
  const cuda = await reader.read('nvidia/cuda.yaml', CudaTable);
  const compat = await reader.read('nvidia/compat.yaml', CompatTable);
  const fabric = await reader.read('nvidia/fabric.yaml', FabricTable);
  const issues = await reader.read('nvidia/issues.yaml', IssuesTable);
  const gpus = [];
  for (const file of gpuFiles) gpus.push(await reader.read(file, GpusTable));
  const usable = gpus.filter((table) => table !== undefined);
  if (
    architectures === undefined ||
    branches === undefined ||
    releases === undefined ||
    modules === undefined ||
    kernels === undefined ||
    cuda === undefined ||
    compat === undefined ||
    fabric === undefined ||
    issues === undefined ||
    usable.length < gpus.length
  ) {
    return undefined;
  }
  return { architectures, branches, releases, gpus: usable, modules, kernels, cuda, compat, fabric, issues };
}

/** The patches that reports name. One that is not there is a mistake of the row that names it. */
async function readPatches(
  folder: string,
  reports: readonly KernelReport[],
  report: Report,
): Promise<ReadonlyMap<string, ModulePatch>> {
  const patches = new Map<string, ModulePatch>();
  for (const row of reports) {
    const { patch: name } = row;
    if (name === undefined || patches.has(name)) continue;
    const file = join(folder, 'nvidia', 'patches', `${name}.patch`);
    const codes = { unreadable: 'FACTS_INVALID', invalid: 'FACTS_INVALID' } as const;
    try {
      const text = await readSourceText(file, file, codes);
      patches.set(name, { name, text, sha256: hexOf(digestOf(text)) });
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      report(error.message, row);
    }
  }
  return patches;
}

/** A table that nothing reads would be a fact that nobody heeds. */
async function refuseStrangers(
  reader: FactReader,
  folder: string,
  gpuFiles: readonly string[],
): Promise<void> {
  const known = new Set([...NVIDIA_FILES, ...VENDOR_FILES, ...gpuFiles]);
  for (const file of [...(await listFacts(folder, '')), ...(await listFacts(folder, 'nvidia'))]) {
    if (!known.has(file)) reader.report(`${join(folder, file)} is not a table that Ingot knows`);
  }
}

const VENDOR_FILES = ['amd.yaml', 'intel.yaml', 'runtimes.yaml'];
const NVIDIA_FILES = [
  'architectures',
  'branches',
  'releases',
  'modules',
  'kernels',
  'cuda',
  'compat',
  'fabric',
  'issues',
].map((name) => `nvidia/${name}.yaml`);

/** The YAML files of a folder below `drivers/`, by their path there, in order. */
async function listFacts(folder: string, below: string): Promise<string[]> {
  try {
    const entries = await readdir(join(folder, below));
    return entries
      .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.'))
      .sort()
      .map((name) => join(below, name));
  } catch (error) {
    throw new IngotError(
      'FACTS_INVALID',
      `cannot read the folder of facts ${join(folder, below)} (${errnoOf(error) ?? 'error'})`,
      { hint: 'the facts are in the `drivers/` folder of Ingot', cause: error },
    );
  }
}

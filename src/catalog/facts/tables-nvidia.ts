/** The tables of `drivers/nvidia/`, as a person writes them. */
import * as z from 'zod';

import {
  BranchNumber,
  CapabilityText,
  CudaRange,
  CudaText,
  DateText,
  DriverRange,
  DriverText,
  KernelRange,
  KernelText,
  Line,
  list,
  MemorySize,
  Name,
  PciText,
  row,
  SoftwareRange,
  table,
} from './schema.ts';

const Flavour = z.enum(['open', 'proprietary']);
const ModuleChoice = z.enum(['open', 'proprietary', 'either']);
export const GpuClass = z.enum(['data-center', 'workstation', 'desktop', 'laptop', 'embedded']);

export const ArchitecturesTable = table({
  architectures: z
    .array(
      row({
        name: Name,
        title: Line,
        aliases: list(Name),
        modules: ModuleChoice.describe('Flavours of kernel modules that work on it.'),
        firstBranch: BranchNumber,
        lastBranch: BranchNumber.exactOptional().describe('The last branch that supports it.'),
        lastCudaMajor: z.int().min(8).max(99).exactOptional(),
      }),
    )
    .describe('Oldest first.'),
  capabilities: z.array(row({ capability: CapabilityText, architecture: Name, firstCuda: CudaText })),
});

export const BranchesTable = table({
  branches: z.array(
    row({
      branch: BranchNumber,
      type: z.enum(['new-feature', 'production', 'long-term', 'unknown']),
      status: z.enum(['supported', 'eol', 'unknown', 'preview']),
      endOfLife: DateText.exactOptional(),
      cuda: CudaText.exactOptional().describe('The CUDA series of its own libcuda.'),
      flavours: z.array(Flavour).min(1).prefault(['open', 'proprietary']),
      listed: z
        .strictObject({ first: DriverText, last: DriverText })
        .exactOptional()
        .describe('First and last release whose table of PCI ids was read.'),
    }),
  ),
});

export const ReleasesTable = table({
  releases: z.array(
    row({
      version: DriverText,
      date: DateText.exactOptional(),
      kernel: KernelText.exactOptional().describe('The newest kernel series it was prepared for.'),
    }),
  ),
});

export const GpusTable = table({
  class: GpuClass.describe('Of every GPU in the file.'),
  gpus: z.array(
    row({
      product: Line,
      names: z.array(Name).min(1).describe('What a user writes; the preferred one first.'),
      series: list(Name).describe('Names that stand for several products.'),
      pci: z.array(PciText).min(1),
      subsystems: list(PciText).describe('Tells products with one id apart.'),
      capability: CapabilityText,
      memory: MemorySize.exactOptional(),
      modules: ModuleChoice.exactOptional().describe('Where it differs from the architecture.'),
      link: z.enum(['none', 'bridge', 'nvlink', 'c2c', 'unknown']).prefault('none'),
      nvlinkGeneration: z.int().min(1).max(9).exactOptional(),
      fabric: Name.exactOptional().describe('A system of fabric.yaml.'),
      mig: z
        .array(z.string().regex(/^[1-7]g\.\d{1,3}gb$/, 'a MIG profile, such as 1g.10gb'))
        .exactOptional()
        .describe('Names of its MIG profiles; [] where they are not known.'),
      cpu: z.enum(['amd64', 'arm64']).exactOptional().describe('The only CPU it comes with.'),
      since: z
        .union([
          z.literal('architecture'),
          z
            .array(
              z
                .string()
                .regex(
                  /^[1-9]\d{2}(?:(?:\.\d{1,4}){1,2}|\+)$/,
                  'a release, or a branch and all later ones as "535+"',
                ),
            )
            .min(1),
        ])
        .describe('First release of each branch that lists it, or `architecture` where lists leave it out.'),
    }),
  ),
});

export const ModulesTable = table({
  rules: z.array(
    row({
      name: Name,
      when: z.strictObject({
        mixes: z.array(ModuleChoice).min(2).exactOptional(),
        driver: DriverRange.exactOptional(),
        addon: z.strictObject({ name: Name, versions: SoftwareRange }).exactOptional(),
      }),
      then: z.enum(['open', 'proprietary', 'refuse']),
      default: z.boolean().default(false).describe('True when a declaration may say otherwise.'),
      message: Line,
    }),
  ),
});

export const KernelsTable = table({
  minimums: z.array(row({ driver: DriverRange, kernel: KernelText })),
  reports: z.array(
    row({
      component: Name.prefault('driver'),
      driver: DriverRange.exactOptional(),
      kernel: KernelRange,
      result: z.enum(['works', 'fails']),
      modules: z.enum(['open', 'proprietary']).exactOptional().describe('Where one flavour alone is meant.'),
      packages: z.strictObject({ distribution: Name, versions: z.array(Line).min(1) }).exactOptional(),
      symptom: Line.exactOptional(),
      fixedBy: DriverText.exactOptional(),
      patch: Name.exactOptional().describe('A patch for the module sources, by name.'),
    }),
  ),
  distributions: z.array(row({ distribution: Name, package: Name, version: Line, kernel: KernelText })),
});

export const CudaTable = table({
  toolkits: z.array(
    row({
      version: CudaText,
      title: Line.exactOptional(),
      driver: DriverText.exactOptional().describe('The Linux driver released with it.'),
      preview: z.boolean().default(false),
    }),
  ),
  minorVersions: z.array(row({ major: z.int().min(8).max(99), driver: DriverRange.exactOptional() })),
});

export const CompatTable = table({
  compat: z.array(
    row({
      cuda: CudaText,
      package: Name,
      branches: z.array(BranchNumber),
      complete: z.boolean().default(true).describe('False when only a part of the list was seen.'),
      classes: z.array(GpuClass).min(1).prefault(['data-center']),
    }),
  ),
});

export const FabricTable = table({
  systems: z.array(
    row({
      name: Name,
      title: Line,
      components: z.array(z.strictObject({ name: Name, version: z.enum(['driver', 'any']).default('any') })),
      kernelModules: list(z.string().regex(/^[a-z0-9_]+$/, 'the name of a kernel module')),
      always: z.boolean().default(true).describe('False when there are boards without switches.'),
      symptom: Line.exactOptional(),
    }),
  ),
});

export const IssuesTable = table({
  floors: z.array(
    row({
      product: Line,
      gpus: z.array(Name).min(1),
      driver: DriverRange.exactOptional(),
      cuda: CudaRange.exactOptional(),
      mig: z.literal(true).exactOptional().describe('Only where it is split by MIG.'),
    }),
  ),
  issues: z.array(
    row({
      name: Name,
      when: z.strictObject({
        cuda: CudaRange.exactOptional(),
        driver: DriverRange.exactOptional(),
        kernel: KernelRange.exactOptional(),
        gpus: z.array(Name).min(1).exactOptional(),
        distribution: Name.exactOptional(),
        addon: Name.exactOptional(),
        mig: z.literal(true).exactOptional().describe('A GPU is split by MIG.'),
        condition: Line.exactOptional(),
      }),
      message: Line,
      advice: Line,
      moduleOption: z
        .strictObject({ module: z.string(), option: z.string(), value: z.string() })
        .exactOptional(),
    }),
  ),
});

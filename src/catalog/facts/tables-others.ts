/** The tables beside NVIDIA's, as a person writes them: AMD, Intel, and the runtimes. */
import * as z from 'zod';

import {
  CapabilityRange,
  CapabilityText,
  CudaText,
  DateText,
  DriverRange,
  KernelRange,
  KernelText,
  Line,
  list,
  MemorySize,
  Name,
  PciText,
  row,
  SoftwareRange,
  SoftwareText,
  table,
} from './schema.ts';
import { GpuClass } from './tables-nvidia.ts';

/** `drivers/amd.yaml` and `drivers/intel.yaml`. */
export const VendorTable = table({
  gpus: z.array(
    row({
      product: Line,
      names: z.array(Name).min(1),
      series: list(Name),
      pci: z.array(PciText).min(1),
      class: GpuClass,
      architecture: Name,
      memory: MemorySize.exactOptional(),
      kernelDriver: z.string().regex(/^[a-z0-9_]+$/, 'the name of a kernel module'),
      kernel: KernelText.exactOptional().describe('The first kernel whose own driver drives it.'),
      mainline: z.boolean().default(true).describe('False when it takes the vendor’s module.'),
    }),
  ),
  stacks: z.array(
    row({
      name: Name,
      version: SoftwareText,
      architectures: z.array(Name).exactOptional(),
      kernelDrivers: list(Line),
      kernel: KernelRange.exactOptional(),
    }),
  ),
});

const Capabilities = z.strictObject({
  capabilities: z.array(CapabilityText).min(1),
  ptx: CapabilityText.exactOptional(),
});

/** `drivers/runtimes.yaml`. */
export const RuntimesTable = table({
  runtimes: z.array(
    row({
      name: Name,
      title: Line,
      aliases: list(Name),
      status: z.enum(['active', 'maintenance', 'archived']),
      statusSince: DateText.exactOptional(),
      successors: list(Name),
    }),
  ),
  releases: z.array(
    row({
      runtime: Name,
      version: SoftwareText,
      date: DateText.exactOptional(),
      cuda: CudaText.exactOptional().describe('What its default artefact is built for.'),
      alsoCuda: list(CudaText).describe('Other series with published artefacts.'),
      rocm: list(SoftwareText),
      torch: SoftwareText.exactOptional(),
      python: Line.exactOptional(),
      minCapability: CapabilityText.exactOptional(),
      capabilities: z.array(CapabilityText).min(1).exactOptional(),
      drivers: list(z.strictObject({ needs: DriverRange, capability: CapabilityRange.exactOptional() })),
    }),
  ),
  wheels: z.array(
    row({
      project: Name,
      versions: SoftwareRange,
      cuda: z.array(CudaText).min(1),
      amd64: Capabilities.exactOptional(),
      arm64: Capabilities.exactOptional(),
    }),
  ),
  features: z.array(row({ runtime: Name, feature: Name, minCapability: CapabilityText })),
});

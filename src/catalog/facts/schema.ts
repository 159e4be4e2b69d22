/** What the tables of `drivers/` are made of: versions, ranges, sources, and the members of every row. */
import * as z from 'zod';

import {
  parseRange,
  rangeIsEmpty,
  VERSION_PATTERNS,
  type ComputeCapability,
  type CudaVersion,
  type DriverVersion,
  type FactVersion,
  type KernelVersion,
  type Range,
  type SoftwareVersion,
} from './versions.ts';

function version<V extends FactVersion>(pattern: RegExp, wanted: string): z.ZodType<V> {
  return z
    .string()
    .regex(pattern, wanted)
    .transform((text) => text as V);
}

export const DriverText = version<DriverVersion>(
  VERSION_PATTERNS.driver,
  'a driver release, such as "580.142"',
);
export const CudaText = version<CudaVersion>(VERSION_PATTERNS.cuda, 'a CUDA version, such as "13.0"');
export const KernelText = version<KernelVersion>(VERSION_PATTERNS.kernel, 'a kernel version, such as "6.12"');
export const CapabilityText = version<ComputeCapability>(
  VERSION_PATTERNS.capability,
  'a compute capability, such as "9.0"',
);
export const SoftwareText = version<SoftwareVersion>(VERSION_PATTERNS.software, 'a version, such as "2.14"');

/** @param example a range of this kind of version, for the message */
function range<V extends FactVersion>(example: string): z.ZodType<Range<V>> {
  return z.string().transform((text, context) => {
    const parsed = parseRange<V>(text);
    if (parsed !== undefined && !rangeIsEmpty(parsed)) return parsed;
    context.addIssue({
      code: 'custom',
      message:
        parsed === undefined
          ? `is not a range of versions, such as ${JSON.stringify(example)}`
          : `admits nothing: the least version in ${JSON.stringify(text)} is above the greatest`,
    });
    return z.NEVER;
  });
}

export const DriverRange = range<DriverVersion>('>= 525.60.13, < 580');
export const CudaRange = range<CudaVersion>('>= 12.8, < 13.2');
export const KernelRange = range<KernelVersion>('>= 6.12, < 6.19');
export const CapabilityRange = range<ComputeCapability>('>= 7.5');
export const SoftwareRange = range<SoftwareVersion>('>= 2.11, < 2.15');

export const Name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.+-]*$/, 'a short name: lower-case letters, digits, and . + -');

export const Line = z.string().regex(/^[^\p{Cc}]+$/u, 'one line of text');

export const PciText = z
  .string()
  .regex(/^[0-9a-f]{4}:[0-9a-f]{4}$/, 'a PCI id in lower case, such as 10de:2330');

/** `2028-06` or `2026-03-10`. */
export const DateText = z
  .string()
  .regex(/^20\d{2}-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?$/, 'a month or a day, such as "2028-06"');

export const BranchNumber = z.int().min(300).max(999);

/** GiB of one accelerator. */
export const MemorySize = z.int().min(1).max(4096);

export const Confidence = z.enum(['high', 'medium', 'low']);

const SourceKey = z.string().regex(/^[a-z][a-z0-9-]*$/, 'a key of `sources`');

/** What every row ends with. */
export const rowShape = {
  source: z
    .union([SourceKey.transform((key) => [key]), z.array(SourceKey).min(1)])
    .describe('Where this is known from: keys of `sources`.'),
  confidence: Confidence.default('high').describe(
    'How sure the sources make us. Low may warn, never refuse.',
  ),
  note: Line.exactOptional().describe('What a reader should know besides.'),
};

export interface RowInput {
  readonly source: readonly string[];
  readonly confidence: z.infer<typeof Confidence>;
  readonly note?: string;
}

export function row<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
): z.ZodObject<Shape & typeof rowShape, z.core.$strict> {
  return z.strictObject({ ...shape, ...rowShape });
}

export const Sources = z.record(
  SourceKey,
  z.strictObject({
    title: Line.describe('Name of the document, with its date where it has one.'),
    url: z
      .string()
      .regex(/^https:\/\/\S+$/, 'an https address')
      .exactOptional(),
  }),
);

/** A file of tables: its sources, and lists of rows. */
export function table<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
): z.ZodObject<{ sources: typeof Sources } & Shape, z.core.$strict> {
  return z.strictObject({ sources: Sources, ...shape });
}

export const list = <T extends z.ZodType>(element: T): z.ZodPrefault<z.ZodArray<T>> =>
  z.array(element).prefault([]);

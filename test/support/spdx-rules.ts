/** What SPDX 2.3 demands of a document that lists packages: types, choices, and that what is named is there. */
import * as z from 'zod';

const NOT_TOLD = z.enum(['NOASSERTION', 'NONE']);
const SpdxId = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/);
const Expression = z.string().regex(/^\(?[A-Za-z0-9.-]+\)?(?: (?:AND|OR|WITH) \(?[A-Za-z0-9.-]+\)?)*$/);
const Agent = z.union([z.string().regex(/^(?:Person|Organization): [^()]+(?: \([^()]*\))?$/), NOT_TOLD]);

const Package = z.strictObject({
  SPDXID: SpdxId,
  name: z.string().min(1),
  versionInfo: z.string().min(1).optional(),
  supplier: Agent.optional(),
  downloadLocation: z.union([NOT_TOLD, z.url()]),
  filesAnalyzed: z.literal(false),
  checksums: z
    .array(
      z.strictObject({ algorithm: z.literal('SHA256'), checksumValue: z.string().regex(/^[0-9a-f]{64}$/) }),
    )
    .optional(),
  homepage: z.url().optional(),
  sourceInfo: z.string().optional(),
  licenseConcluded: z.union([NOT_TOLD, Expression]),
  licenseDeclared: z.union([NOT_TOLD, Expression]),
  copyrightText: z.string(),
  description: z.string().optional(),
  comment: z.string().optional(),
  externalRefs: z
    .array(
      z.strictObject({
        referenceCategory: z.literal('PACKAGE-MANAGER'),
        referenceType: z.literal('purl'),
        referenceLocator: z
          .string()
          .regex(/^pkg:(?:deb\/[^/@?]+|rpm\/[^/@?]+|oci)\/[^/@?]+@[^/@?]+(?:\?\S+)?$/),
      }),
    )
    .optional(),
  primaryPackagePurpose: z.enum([
    ...([
      'APPLICATION',
      'FRAMEWORK',
      'LIBRARY',
      'CONTAINER',
      'OPERATING_SYSTEM',
      'DEVICE',
      'FIRMWARE',
    ] as const),
    ...(['SOURCE', 'ARCHIVE', 'FILE', 'INSTALL', 'OTHER'] as const),
  ]),
});

const Document = z.strictObject({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: z.string(),
  documentNamespace: z.url().refine((url) => !url.includes('#'), 'has a fragment'),
  creationInfo: z.strictObject({
    created: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    creators: z.array(z.string().regex(/^Tool: \S+-\S+$/)).min(1),
  }),
  comment: z.string().optional(),
  packages: z.array(Package).min(1),
  hasExtractedLicensingInfos: z
    .array(
      z.strictObject({
        licenseId: z.string().regex(/^LicenseRef-[A-Za-z0-9.-]+$/),
        name: z.string().min(1),
        extractedText: z.string().min(1),
      }),
    )
    .optional(),
  relationships: z.array(
    z.strictObject({
      spdxElementId: SpdxId,
      relationshipType: z.enum(['DESCRIBES', 'CONTAINS', 'DEPENDS_ON', 'GENERATED_FROM']),
      relatedSpdxElement: SpdxId,
    }),
  ),
});

/** @throws Error about the first rule that is broken */
export function readSpdx(text: string): z.infer<typeof Document> {
  const document = Document.parse(JSON.parse(text));
  const ids = ['SPDXRef-DOCUMENT', ...document.packages.map(({ SPDXID }) => SPDXID)];
  const known = new Set(ids);
  if (known.size !== ids.length) throw new Error('an SPDXID is there twice');
  for (const { spdxElementId, relatedSpdxElement } of document.relationships) {
    for (const id of [spdxElementId, relatedSpdxElement]) if (!known.has(id)) throw new Error(`no ${id}`);
  }
  const texts = new Set(document.hasExtractedLicensingInfos?.map(({ licenseId }) => licenseId));
  for (const { licenseDeclared } of document.packages) {
    for (const [name] of licenseDeclared.matchAll(/LicenseRef-[A-Za-z0-9.-]+/g)) {
      if (!texts.has(name)) throw new Error(`no text of ${name}`);
    }
  }
  return document;
}

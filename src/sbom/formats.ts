/** The formats that bills are published in. Pure. */

/** With the type under which registries keep such a document. */
export const BILL_FORMATS = {
  spdx: { mediaType: 'application/spdx+json', title: 'SPDX 2.3' },
  cyclonedx: { mediaType: 'application/vnd.cyclonedx+json', title: 'CycloneDX 1.6' },
} as const;

export type BillFormat = keyof typeof BILL_FORMATS;

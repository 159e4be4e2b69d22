/** The formats that bills are published in. Pure. */
import type { Bill, BillTool } from './bill.ts';
import { renderCycloneDx } from './cyclonedx.ts';
import { renderSpdx } from './spdx.ts';

/** With the type under which registries keep such a document. */
export const BILL_FORMATS = {
  spdx: { mediaType: 'application/spdx+json', title: 'SPDX 2.3', render: renderSpdx },
  cyclonedx: { mediaType: 'application/vnd.cyclonedx+json', title: 'CycloneDX 1.6', render: renderCycloneDx },
} as const;

export type BillFormat = keyof typeof BILL_FORMATS;

/** The same bill and tool give the same bytes. */
export function renderDocument(bill: Bill, format: BillFormat, tool: BillTool): string {
  return BILL_FORMATS[format].render(bill, tool);
}

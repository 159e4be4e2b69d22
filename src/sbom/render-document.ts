/** A bill in one of the formats that it is published in. Pure. */
import type { Bill, BillTool } from './bill.ts';
import { renderCycloneDx } from './cyclonedx.ts';
import type { BillFormat } from './formats.ts';
import { renderSpdx } from './spdx.ts';

const RENDERERS = { spdx: renderSpdx, cyclonedx: renderCycloneDx } satisfies Record<
  BillFormat,
  (bill: Bill, tool: BillTool) => string
>;

/** The same bill and tool give the same bytes. */
export function renderDocument(bill: Bill, format: BillFormat, tool: BillTool): string {
  return RENDERERS[format](bill, tool);
}

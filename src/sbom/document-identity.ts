/** What makes a document's name unique: a function of the bill and the format, so that the same image has the same. Pure. */
import { createHash } from 'node:crypto';

import { canonicalJson } from '../digest.ts';
import type { Bill, BillTool } from './bill.ts';

/** A UUID of version 8 (RFC 9562, section 5.8). */
export function documentUuid(bill: Bill, format: string, tool: BillTool): string {
  const { dependencies, ...rest } = bill;
  const text = canonicalJson({ ...rest, dependencies: [...dependencies], format, tool });
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

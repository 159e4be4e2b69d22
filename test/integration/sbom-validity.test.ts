/** Bills of materials with one of everything, as the SPDX project's own validator sees them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { type BillInput, makeBill } from '../../src/sbom/make-bill.ts';
import { renderDocument } from '../../src/sbom/render-document.ts';
import { fullLock, rpmSoftware, softwareOf } from '../support/bills.ts';
import { spdxComplaints } from '../support/spdx-tools.ts';

const lock = fullLock();
let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-spdx-'));
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

async function complaints(input: BillInput, change = (text: string): string => text): Promise<string> {
  const file = join(await mkdtemp(join(scratch, 'bill-')), 'bill.spdx.json');
  await writeFile(file, change(renderDocument(makeBill(input), 'spdx', { name: 'ingot', version: '1.0' })));
  return spdxComplaints(file);
}

it('hold to SPDX 2.3', async () => {
  expect(await complaints({ lock, software: softwareOf(lock) })).toBe('');
  expect(await complaints({ software: rpmSoftware() })).toBe('');
});

it('would be refused with a relationship to nothing', async () => {
  const change = (text: string): string =>
    text.replace(/"relatedSpdxElement": "[^"]*"/, '"relatedSpdxElement": "SPDXRef-gone"');
  expect(await complaints({ software: rpmSoftware() }, change)).toContain('SPDXRef-gone');
});

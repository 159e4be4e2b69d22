/** What is read of the machine: origins, GPUs. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { findGpus } from './host-gpus.ts';
import { parseOrigin, renderOrigin } from './ostree-origin.ts';

test('an origin is read as it was written', () => {
  const reference = 'registry.example.com/ai/node:stable';
  expect(parseOrigin(renderOrigin('ingot/image/x', { reference }))).toEqual({ reference });
  expect(parseOrigin(renderOrigin('ingot/image/x', {}))).toEqual({});
  expect(parseOrigin('')).toEqual({});
  expect(parseOrigin('[ingot]\n# image=no\nother=1\n[x]\nimage=no\n')).toEqual({});
});

test.each([
  ['ostree-unverified-registry:quay.io/a/b:c', 'quay.io/a/b:c'],
  ['ostree-unverified-image:docker://quay.io/a/b:c', 'quay.io/a/b:c'],
  ['ostree-image-signed:docker://quay.io/a/b:c', 'quay.io/a/b:c'],
  ['ostree-remote-image:fedora:docker://quay.io/a/b:c', 'quay.io/a/b:c'],
])('bootc’s %s is understood', (text, reference) => {
  expect(parseOrigin(`[origin]\ncontainer-image-reference=${text}\n`)).toEqual({ reference });
});

test('GPUs are told by class, whatever else is on the bus', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ingot-pci-'));
  const device = async (address: string, files: Readonly<Record<string, string>>): Promise<void> => {
    await mkdir(join(folder, address));
    for (const [name, text] of Object.entries(files))
      await writeFile(join(folder, address, name), `${text}\n`);
  };
  await device('0000:41:00.0', { class: '0x030200', vendor: '0x10DE', device: '0x26b9' });
  await device('0000:41:00.1', { class: '0x040300', vendor: '0x10de', device: '0x22ba' });
  await device('0000:03:00.0', { class: '0x030000', vendor: '0x1a03', device: '0x2000' });
  await device('0000:05:00.0', { class: '0x120000', vendor: '0x1002', device: '0x74a1' });
  await device('0000:06:00.0', { class: '0x030000' });
  expect(await findGpus(folder)).toEqual([
    { address: '0000:03:00.0', pci: '1a03:2000' },
    { address: '0000:05:00.0', pci: '1002:74a1' },
    { address: '0000:41:00.0', pci: '10de:26b9' },
  ]);
  expect(await findGpus(join(folder, 'none'))).toEqual([]);
  await rm(folder, { recursive: true });
});

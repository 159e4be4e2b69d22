import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

import {
  judgeAnswers,
  judgeDriver,
  judgeFabric,
  judgeXids,
  libraryVersion,
  parseModuleVersion,
  parseSmiGpus,
  parseXids,
} from './nvidia.ts';

/** Of machines with GPUs: test/fixtures/nvidia/README.md. */
function recorded(name: string): string {
  return readFileSync(new URL(`../../../test/fixtures/nvidia/${name}`, import.meta.url), 'utf8');
}

describe('the module’s version', () => {
  test.each(['384.98', '525.60.11', '565.57.01'])('%s', (version) => {
    expect(parseModuleVersion(recorded(`version-${version}`))).toBe(version);
  });

  test.each([
    [
      'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build  (dvs-builder@U16)\nGCC version:  gcc version 14.2.0\n',
      '550.163.01',
    ],
    [
      'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\n',
      '535.54.03',
    ],
    ['GCC version:  gcc version 14.2.0\n', undefined],
    ['', undefined],
  ])('%#', (text, version) => {
    expect(parseModuleVersion(text)).toBe(version);
  });

  test('must be that of the libraries', () => {
    expect(libraryVersion(['libnvidia-ml.so.1', 'libnvidia-ml.so.550.163.01', 'libc.so.6'])).toBe(
      '550.163.01',
    );
    expect(libraryVersion(['libnvidia-ml.so.550.1', 'libnvidia-ml.so.535.2'])).toBeUndefined();
    expect(judgeDriver('550.163.01', '550.163.01').isGood).toBe(true);
    expect(judgeDriver('550.163.01', undefined).isGood).toBe(true);
    expect(judgeDriver('550.163.01', '535.54.03')).toEqual({
      isGood: false,
      found: 'the module is 550.163.01, the libraries are 535.54.03',
    });
    expect(judgeDriver(undefined, '535.54.03')).toEqual({
      isGood: false,
      found: 'the module nvidia is not loaded',
    });
  });
});

describe('what nvidia-smi says', () => {
  const TWO = [
    '00000000:41:00.0, NVIDIA H200, Completed, Success',
    '00000000:C1:00.0, NVIDIA H200, In Progress, N/A',
    '',
  ].join('\n');

  test('is read by the addresses that /sys has', () => {
    expect(parseSmiGpus(TWO)).toEqual([
      { address: '0000:41:00.0', name: 'NVIDIA H200', fabricState: 'Completed', fabricStatus: 'Success' },
      { address: '0000:c1:00.0', name: 'NVIDIA H200', fabricState: 'In Progress', fabricStatus: undefined },
    ]);
    expect(parseSmiGpus('No devices were found\n')).toEqual([]);
    expect(parseSmiGpus('Field "fabric.state" is not a valid field to query.\n')).toEqual([]);
  });

  test('must be of every GPU on the bus', () => {
    expect(judgeAnswers(['0000:41:00.0', '0000:c1:00.0'], parseSmiGpus(TWO)).isGood).toBe(true);
    expect(judgeAnswers(['0000:41:00.0', '0000:e1:00.0'], parseSmiGpus(TWO))).toEqual({
      isGood: false,
      found: 'nvidia-smi says nothing of 0000:e1:00.0',
    });
  });

  test.each([
    ['Completed, Success', true],
    ['Completed, Failure', false],
    ['In Progress, N/A', false],
    ['Not Started, N/A', false],
    ['Not Supported, N/A', true],
    ['[N/A], [N/A]', true],
    ['[Not Supported], [Not Supported]', true],
  ])('of the fabric, %s, is judged', (cells, isGood) => {
    expect(judgeFabric(parseSmiGpus(`00000000:41:00.0, NVIDIA H200, ${cells}`)).isGood).toBe(isGood);
  });
});

test('errors of the GPU count, errors of programs on it do not', () => {
  const log = [
    'NVRM: Xid (PCI:0000:41:00): 13, pid=77, name=python3, Graphics Exception',
    'NVRM: Xid (PCI:0000:C1:00): 79, pid=0, name=, GPU has fallen off the bus.',
    'NVRM: Xid (PCI:0000:c1:00): 154',
    'usb 1-1: new device',
  ];
  expect(parseXids(log.join('\n'))).toMatchObject([
    { code: 13 },
    { code: 79, address: '0000:c1:00' },
    { code: 154 },
  ]);
  expect(judgeXids(parseXids(log[0] ?? '')).isGood).toBe(true);
  const verdict = judgeXids(parseXids(log.join('\n')));
  expect(verdict).toEqual({
    isGood: false,
    found: 'XID 79 of 0000:c1:00: pid=0, name=, GPU has fallen off the bus., and 1 more',
  });
});

test('logs of machines with GPUs are told apart', () => {
  const silent = parseXids(recorded('kernel-gsp-timeout.log'));
  expect(silent.map(({ address, code }) => [address, code])).toEqual(Array(5).fill(['0000:9b:00', 119]));
  expect(judgeXids(silent)).toEqual({
    isGood: false,
    found: expect.stringMatching(/^XID 119 of 0000:9b:00: pid=2024380, .*GSP.*, and 4 more$/) as string,
  });
  const ofProgram = parseXids(recorded('kernel-out-of-range.log'));
  expect(new Set(ofProgram.map(({ code }) => code))).toEqual(new Set([13, 43]));
  expect(judgeXids(ofProgram)).toEqual({
    isGood: true,
    found: 'no error of a GPU in the log; of programs: XID 13, 43',
  });
});

test('an error that the driver calls not fatal is told, and fails nothing', () => {
  // As machines with Blackwell have logged them.
  const mild = [
    'NVRM: Xid (PCI:0019:01:00): 145, RLW_SRC_TRACK Nonfatal XC1 i0 Link 12 (0x040988e2 0x00000008 0x00000000 0x00000000 0x00000000 0x00000000)',
    'NVRM: Xid (PCI:0008:01:00): 149, NETIR_BER_EVENT Nonfatal XC0 i0 Link 01 (0x00082226 0x00000001 0x00000000 0x00000000 0x00000000 0x00000000)',
    'NVRM: Xid (PCI:0008:01:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)',
    'NVRM: Xid (PCI:0008:01:00): 43, pid=77, name=python3, channel 0x00000002',
  ];
  expect(judgeXids(parseXids(mild.join('\n')))).toEqual({
    isGood: true,
    found: 'no error of a GPU in the log; of programs: XID 43; not fatal: XID 145, 149, 154',
  });
  for (const fatal of [
    'NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)',
    'NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)',
    'NVRM: Xid (PCI:0009:01:00): 79, pid=0, name=Nonfatal, GPU has fallen off the bus.',
    'NVRM: Xid (PCI:0009:01:00): 145, pid=4, name=Nonfatal, RLW_SRC_TRACK Fatal XC0 i1 Link 00 (0x00000001 0x00000002)',
    'NVRM: Xid (PCI:0009:01:00): 146',
  ]) {
    const verdict = judgeXids(parseXids([...mild, fatal].join('\n')));
    expect(verdict.isGood).toBe(false);
    expect(verdict.found).toMatch(/^XID (?:145|149|154|79|146) of 0009:01:00/);
  }
});

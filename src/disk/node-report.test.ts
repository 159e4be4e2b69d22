import { expect, test } from 'vitest';

import { judgeNode, parseOsRelease, type NodeReport } from './node-report.ts';
import { parseHealthFile } from '../ostree/health-file.ts';

const FINE: NodeReport = {
  state: 'running',
  failedUnits: [],
  kernel: '6.12.0',
  system: 'Debian',
  writes: [{ path: '/usr', writable: false, refusal: 'Read-only file system' }],
  deployment: {
    booted: true,
    staged: false,
    pending: false,
    rollback: false,
    pinned: false,
    unlocked: false,
    stateroot: 'default',
    checksum: 'c',
    serial: 0,
  },
  bootTimes: {},
};

test('a node is judged by everything that it says', () => {
  expect(judgeNode(FINE)).toEqual([]);
  const { deployment: _gone, ...undeployed } = FINE;
  expect(
    judgeNode({
      ...undeployed,
      state: 'degraded',
      failedUnits: [{ name: 'ssh.service', journal: '' }],
      writes: [{ path: '/usr', writable: true, refusal: '' }],
    }),
  ).toEqual([
    'the system is degraded, not running',
    'ssh.service has failed',
    '/usr can be written to',
    'it is not booted from an ostree deployment',
  ]);
  expect(
    judgeNode({ ...FINE, state: 'starting', failedUnits: [{ name: 'slow.service', journal: '' }] }),
  ).toContain('slow.service has not finished');
  expect(judgeNode({ ...FINE, isComposefs: true })).toEqual([]);
  expect(judgeNode({ ...FINE, isComposefs: false })).toEqual([
    'the root is no composefs, though its ostree makes one',
  ]);
});

test('os-release values lose their quotes', () => {
  const values = parseOsRelease(
    'PRETTY_NAME="Debian \\"13\\""\nID=debian\n# comment\nVARIANT=\'a b\'\nbroken\n',
  );
  expect(Object.fromEntries(values)).toEqual({ PRETTY_NAME: 'Debian "13"', ID: 'debian', VARIANT: 'a b' });
});

test('a health file that is not one is HEALTH_FAILED', () => {
  expect(parseHealthFile('[{"name":"a","run":"true","timeoutSeconds":3}]')).toHaveLength(1);
  for (const text of ['', '{}', '[{"name":"a"}]', '[{"name":"a","run":"true","timeoutSeconds":0}]']) {
    expect(() => parseHealthFile(text)).toThrow(expect.objectContaining({ code: 'HEALTH_FAILED' }));
  }
});

import { expect, test } from 'vitest';

import type { BootTest } from '../disk/boot-test.ts';
import { renderBootTest } from './render-boot-test.ts';

const HEALTHY: BootTest = {
  healthy: true,
  complaints: [],
  accelerator: 'tcg',
  stages: [
    { name: 'firmware and boot loader', seconds: 4.7 },
    { name: 'services', seconds: 27 },
  ],
  seconds: 56,
  report: {
    state: 'running',
    failedUnits: [],
    kernel: '6.12.0-cloud-amd64',
    system: 'Debian GNU/Linux 13 (trixie)',
    writes: [{ path: '/usr', writable: false, refusal: 'Read-only file system' }],
    bootTimes: {},
  },
  checks: [
    { name: 'ssh-active', healthy: true, seconds: 0.1, exitCode: 0, timedOut: false, output: 'active' },
  ],
  console: '',
};

test('a healthy node is a few lines', () => {
  const text = renderBootTest('demo 1', HEALTHY);
  expect(text).toMatch(/^demo 1 is healthy, 56 s\n/);
  expect(text).toContain('running, no failed units');
  expect(text).toContain('✔ ssh-active');
  expect(text).not.toContain('console:');
});

test('an unhealthy one shows why, the journal, and the console', () => {
  const text = renderBootTest('demo 1', {
    ...HEALTHY,
    healthy: false,
    complaints: ['ssh.service has failed'],
    report: {
      ...HEALTHY.report,
      state: 'degraded',
      failedUnits: [{ name: 'ssh.service', journal: 'no keys\nbye' }],
    },
    checks: [
      { name: 'ssh-active', healthy: false, seconds: 0.1, exitCode: 3, timedOut: false, output: 'inactive' },
    ],
    console: '[  12.0] last words',
  });
  expect(text).toContain('is not healthy');
  expect(text).toContain('✖ ssh-active (0.1 s)\n    inactive');
  expect(text).toContain('✖ ssh.service has failed');
  expect(text).toContain('ssh.service:\n    no keys\n    bye');
  expect(text).toContain('console:\n    [  12.0] last words');
});

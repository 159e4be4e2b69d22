import { expect, test } from 'vitest';

import { UPGRADE_STEPS, type UpgradeTest } from '../disk/upgrade/upgrade-test.ts';
import { renderUpgradeTest } from './render-upgrade-test.ts';

const names = { from: { name: 'node', version: '1' }, to: { name: 'node', version: '2' } };
const passed: UpgradeTest = {
  passed: true,
  complaints: [],
  accelerator: 'tcg',
  steps: UPGRADE_STEPS.map((name) => ({ name, seconds: 10 })),
  seconds: 100,
  edits: [{ path: '/etc/motd', what: 'changed' }],
  pulled: { bytes: 1024 * 1024, layers: 2 },
  pulledAgain: { bytes: 0, layers: 0 },
  restart: { kind: 'soft', reasons: [], seconds: 12 },
  defaults: { moved: 3, stale: [] },
  isPolicySetAside: true,
  console: '',
};

test('an update that goes well is told with what it took', () => {
  const text = renderUpgradeTest(names, passed);
  expect(text).toMatch(/^node 1 → 2: the update goes well, and back, 1 min 40 s\n/);
  expect(text).toMatch(/pulled +1.0 MiB in 2 layers, then 0 B\n/);
  expect(text).toMatch(/restart +user space alone, down for 12 s\n/);
  expect(text).toMatch(/signatures +not asked for/);
  expect(text).toMatch(/✔ update again \(10 s\)/);
  expect(text).not.toMatch(/✖|not reached/);
});

test('one that does not says where it ended, and why', () => {
  const text = renderUpgradeTest(names, {
    ...passed,
    passed: false,
    complaints: ['the node runs 1, after 4 starts', 'x: \u001b[31mred'],
    steps: [...passed.steps.slice(0, 4), { name: 'power off', seconds: 3 }],
    console: 'last line',
  });
  expect(text).toMatch(/the update does not go well/);
  expect(text).toMatch(/✔ pull and stage/);
  expect(text).toMatch(/✖ restart into the new image/);
  expect(text).toMatch(/- check: not reached/);
  expect(text).toMatch(/✔ power off/);
  expect(text).toMatch(/✖ the node runs 1, after 4 starts/);
  expect(text).not.toContain('\u001b');
  expect(text).toMatch(/ {4}last line/);
});

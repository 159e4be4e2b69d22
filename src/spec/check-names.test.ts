import { expect, it } from 'vitest';

import { findingsOf, HEAD } from '../../test/support/complaints.ts';

const known = {
  agents: ['ingot'],
  addons: ['ssh', 'chrony'],
  bases: ['debian'],
  kernels: ['cloud', 'generic'],
};

it('names a layer that there is not beside every other mistake, at its place', async () => {
  const findings = await findingsOf(`${HEAD}kernel: clod\nagent: ingto\naddons: [shh]\nhostnam: x\n`, {
    known,
  });
  expect(
    findings.map(({ message, location, suggestions }) => [
      `${location?.line}:${location?.column}`,
      message,
      suggestions,
    ]),
  ).toEqual([
    ['3:9', 'unknown kernel "clod"', ['cloud']],
    ['4:8', 'unknown agent "ingto"', ['ingot']],
    ['5:10', 'unknown addon "shh"', ['ssh']],
    ['6:1', 'unknown key "hostnam"', ['hostname']],
  ]);
});

it('looks into the long form of a kernel and into variants', async () => {
  const text = `${HEAD}kernel: {flavour: clod}\nvariants:\n  - {name: other, addons: [shh]}\n`;
  const findings = await findingsOf(text, { known });
  expect(findings.map(({ message }) => message)).toEqual(['unknown kernel "clod"', 'unknown addon "shh"']);
});

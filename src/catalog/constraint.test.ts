import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  admitsVersion,
  compareDotted,
  ConstraintError,
  parseConstraint,
  VERSION_SUBJECTS,
  type Constraint,
} from './constraint.ts';

function versions(text: string): Extract<Constraint, { kind: 'bounds' | 'versions' }> {
  const constraint = parseConstraint(text);
  if (constraint.kind === 'words') throw new TypeError(text);
  return constraint;
}

describe('parseConstraint', () => {
  it.each([
    [
      'driver >= 525, < 600',
      {
        kind: 'bounds',
        subject: 'driver',
        bounds: [
          { relation: '>=', operand: { version: '525' } },
          { relation: '<', operand: { version: '600' } },
        ],
      },
    ],
    [
      'version = driver',
      { kind: 'bounds', subject: 'version', bounds: [{ relation: '=', operand: { subject: 'driver' } }] },
    ],
    [
      'cuda: 12.x | 13.0',
      {
        kind: 'versions',
        subject: 'cuda',
        choices: [
          { version: '12', series: true },
          { version: '13.0', series: false },
        ],
      },
    ],
    ['gpuArchitecture:hopper|ada-lovelace', { kind: 'words', words: ['hopper', 'ada-lovelace'] }],
  ])('%s', (text, wanted) => {
    expect(parseConstraint(text)).toMatchObject({ ...wanted, text });
  });

  it.each([
    ['', 0],
    ['>= 525', 0],
    ['drivre >= 525', 0],
    ['driver', 6],
    ['driver 525', 7],
    ['driver >= ', 10],
    ['driver >= 525,', 14],
    ['driver >= 525 or 530', 14],
    ['driver >= vendor', 10],
    ['cuda: x', 6],
    ['cuda: 12.', 8],
    ['modules = open', 8],
    ['modules: open |', 15],
  ])('refuses %j at %i', (text, offset) => {
    const refused = (): Constraint => parseConstraint(text);
    expect(refused).toThrow(ConstraintError);
    try {
      refused();
    } catch (error) {
      expect(error).toMatchObject({ offset });
    }
  });

  it('ends on any text, with a constraint or its error', () => {
    const piece = fc.constantFrom(
      'driver',
      'cuda',
      ' ',
      '>=',
      '<',
      ':',
      '|',
      ',',
      '12',
      '.x',
      '12.4',
      'open',
      '=',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece).map((list) => list.join('')),
        ),
        (text) => {
          try {
            expect(parseConstraint(text).text).toBe(text.trim());
          } catch (error) {
            expect(error).toBeInstanceOf(ConstraintError);
            expect((error as ConstraintError).offset).toBeLessThanOrEqual(text.length);
          }
        },
      ),
    );
  });
});

describe('admitsVersion', () => {
  it.each([
    ['driver >= 525', '550.163.01', true],
    ['driver >= 550.163.02', '550.163.01', false],
    ['driver >= 525, < 550', '550', false],
    ['cuda: 12.x', '12.10', true],
    ['cuda: 12.x', '120.1', false],
    ['cuda: 12.4', '12.4', true],
    ['cuda: 12.4', '12.4.1', false],
    ['computeCapability >= 7.5', '10.0', true],
    ['kernel < 6.12.107', '6.12.94', true],
  ])('%s of %s: %s', (text, version, wanted) => {
    expect(admitsVersion(versions(text), version)).toBe(wanted);
  });

  it('compares with another subject, where it is known', () => {
    const same = versions('version = driver');
    expect(
      admitsVersion(same, '550.163.01', (subject) => (subject === 'driver' ? '550.163.01' : undefined)),
    ).toBe(true);
    expect(admitsVersion(same, '550.163.01', () => '550.163.02')).toBe(false);
    expect(admitsVersion(same, '550.163.01')).toBe(false);
  });

  it('has one of <, = and > hold between any two versions', () => {
    const version = fc.array(fc.nat(600), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.'));
    fc.assert(
      fc.property(fc.constantFrom(...VERSION_SUBJECTS), version, version, (subject, left, right) => {
        const holding = ['<', '=', '>'].filter((relation) =>
          admitsVersion(versions(`${subject} ${relation} ${right}`), left),
        );
        expect(holding).toHaveLength(1);
        expect(Math.sign(compareDotted(left, right))).toBe(-Math.sign(compareDotted(right, left)) + 0);
      }),
    );
  });
});

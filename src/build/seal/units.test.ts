import { describe, expect, it } from 'vitest';

import type { PlannedUnit } from '../../plan/plan.ts';
import { nearest } from '../../spec/suggest.ts';
import { missingUnits, staticUnits, templateOf, unitArgvs, unitPresets } from './units.ts';

const unit = (name: string, more: Partial<PlannedUnit> = {}): PlannedUnit => ({
  name,
  masked: false,
  origin: 'units',
  ...more,
});

describe('units', () => {
  it('know the template of an instance', () => {
    expect(templateOf('serial-getty@ttyS0.service')).toBe('serial-getty@.service');
    expect(templateOf('getty@.service')).toBe('getty@.service');
    expect(templateOf('ssh.service')).toBe('ssh.service');
  });

  it('that nothing brings are findings at their place, with the nearest names', () => {
    const available = new Set(['ssh.service', 'serial-getty@.service']);
    const findings = missingUnits(
      [
        unit('shh.service', { declared: 1 }),
        unit('serial-getty@ttyS0.service', { declared: 2 }),
        unit('mine.service', { content: '[Unit]', declared: 3 }),
      ],
      available,
      nearest,
      (index) => ({ file: 'x.yaml', line: index, column: 1 }),
    );
    expect(findings).toEqual([
      {
        code: 'UNIT_UNKNOWN',
        severity: 'error',
        message: 'no package of this image brings the unit shh.service',
        suggestions: ['ssh.service'],
        location: { file: 'x.yaml', line: 1, column: 1 },
      },
    ]);
  });

  it('of a layer name the layer', () => {
    const [finding] = missingUnits(
      [unit('a.service', { origin: 'layers/addon/x.yaml' })],
      new Set(),
      nearest,
    );
    expect(finding?.message).toContain('layers/addon/x.yaml asks for the unit a.service');
  });

  it('that cannot be enabled are findings at their place, or name the layer', () => {
    const units = [
      unit('off.service', { enabled: false, declared: 0 }),
      unit('fine.service', { enabled: true, declared: 1 }),
      unit('helper.service', { enabled: true, declared: 2 }),
      unit('masked.service', { enabled: true, masked: true, declared: 3 }),
      unit('theirs.service', { enabled: true, origin: 'layers/addon/x.yaml' }),
    ];
    const at = (line: number) => ({ file: 'x.yaml', line, column: 1 });
    expect(staticUnits(units, ['enabled', 'static', 'static'], at)).toMatchObject([
      { code: 'SPEC_INVALID', location: at(2), message: expect.stringContaining('helper.service') as string },
      { code: 'CATALOG_INVALID', message: expect.stringContaining('layers/addon/x.yaml: theirs') as string },
    ]);
    expect(staticUnits(units, ['enabled', 'enabled-runtime', 'indirect'], at)).toEqual([]);
  });

  it('are disabled, enabled and masked in that order; a masked one is not enabled', () => {
    const units = [
      unit('a.service', { enabled: true }),
      unit('b.service', { enabled: false }),
      unit('c.service', { enabled: true, masked: true }),
      unit('d.service'),
    ];
    expect(unitArgvs(units)).toEqual([
      ['systemctl', '--root=/', 'disable', 'b.service'],
      ['systemctl', '--root=/', 'enable', 'a.service'],
      ['systemctl', '--root=/', 'mask', 'c.service'],
    ]);
    expect(unitArgvs([unit('d.service')])).toEqual([]);
    expect(unitPresets(units)).toBe('enable a.service\ndisable b.service\nenable c.service\n');
  });
});

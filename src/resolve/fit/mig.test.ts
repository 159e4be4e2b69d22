/** What may be asked of MIG, on the product's own facts. */
import { describe, expect, it } from 'vitest';

import { BY_FACTS, fitOf, requestOf, rulesOf, type ShortRequest } from '../../../test/support/fit.ts';
import { judgeFit } from './fit.ts';

const H100: ShortRequest = { gpus: ['h100-pcie'], driver: '580' };

function verdictOf(short: ShortRequest): unknown {
  const fit = fitOf(short);
  return [fit.verdict, ...rulesOf(fit)];
}

function suggestionsFor(short: ShortRequest): string[] {
  return fitOf(short).findings.flatMap(({ suggestions }) => suggestions.map(({ text }) => text));
}

describe('the names of MIG profiles', () => {
  it.each([
    ['a100-pcie-40gb', '1g.5gb', 'ok'],
    ['a100-pcie-80gb', '1g.5gb', 'refused'],
    ['a100-pcie-80gb', '1g.10gb', 'ok'],
    ['h100-pcie', '1g.10gb', 'ok'],
    ['h100-pcie', '1g.12gb', 'refused'],
    ['h100-nvl', '1g.12gb', 'ok'],
    ['h200-nvl', '1g.18gb', 'ok'],
    ['a30', '1g.6gb', 'ok'],
    ['l4', '1g.5gb', 'refused'],
  ])('%s, %s: %s', (gpu, profile, verdict) => {
    const rules = verdict === 'refused' ? ['mig-profile'] : [];
    expect(verdictOf({ gpus: [gpu], driver: '580', mig: [profile] })).toEqual([verdict, ...rules]);
  });

  it('are the same on no two H100s, so the family has none of them', () => {
    const rules = ['fabric-components', 'mig-profile'];
    const fit = fitOf({ gpus: ['h100'], driver: '580', mig: ['1g.10gb'] });
    expect(rulesOf(fit).filter((rule) => rules.includes(rule))).toContain('mig-profile');
    expect(fit.verdict).toBe('refused');
  });

  it('where they are not known are a warning', () => {
    expect(verdictOf({ gpus: ['a100x'], driver: '580', mig: ['1g.10gb'] })).toEqual([
      'warning',
      'mig-profile',
    ]);
  });

  it('that another vendor has not are refused', () => {
    expect(verdictOf({ gpus: ['mi300x'], driver: 'auto', use: 'auto', mig: ['1g.10gb'] })).toEqual([
      'refused',
      'mig-profile',
    ]);
  });

  it('of the device’s own are suggested, the same share of it first', () => {
    expect(suggestionsFor({ ...H100, mig: ['2g.10gb'] })[0]).toBe('mig of h100-pcie: 2g.20gb for 2g.10gb');
    expect(fitOf({ ...H100, mig: ['2g.10gb'] }).findings[0]?.message).toContain('1g.10gb, 1g.20gb, 2g.20gb');
  });
});

describe('the MIG devices of a GPU', () => {
  it.each([
    ['all seven', ['1g.10gb*7'], 'ok'],
    ['an uneven mix', ['1g.10gb*2', '2g.20gb*1', '3g.40gb*1'], 'ok'],
    ['the whole', ['7g.80gb'], 'ok'],
    ['two halves', ['3g.40gb*2'], 'ok'],
    ['four with more memory', ['1g.20gb*4'], 'ok'],
    ['the whole and more', ['7g.80gb', '1g.10gb'], 'refused'],
    ['compute for eight', ['4g.40gb*2'], 'refused'],
    ['memory for nine', ['3g.40gb*2', '1g.10gb'], 'refused'],
    ['memory for ten', ['1g.20gb*5'], 'refused'],
  ])('%s: %j is %s', (_, mig, verdict) => {
    expect(verdictOf({ ...H100, mig })).toEqual([verdict, ...(verdict === 'ok' ? [] : ['mig-slices'])]);
  });

  it.each([
    ['a30', ['1g.6gb*4'], 'ok'],
    ['a30', ['1g.6gb*5'], 'refused'],
    ['a30', ['2g.12gb*2'], 'ok'],
    // 94 GB in eighths are 11.75: the names round.
    ['h100-nvl', ['1g.24gb*4'], 'ok'],
    ['h100-nvl', ['3g.47gb*2'], 'ok'],
    ['h200-nvl', ['1g.18gb*7'], 'ok'],
    ['h200-nvl', ['1g.35gb*4'], 'ok'],
  ])('%s: %j is %s', (gpu, mig, verdict) => {
    expect(fitOf({ gpus: [gpu], driver: '580', mig }).verdict).toBe(verdict);
  });

  it('are fewer in what is suggested', () => {
    expect(suggestionsFor({ gpus: ['a30'], driver: '580', mig: ['1g.6gb*5'] })).toContain(
      'mig of a30: {1g.6gb: 4}',
    );
  });

  it('belong to the GPU that they are written below', () => {
    const request = {
      ...requestOf({ gpus: ['h100-pcie', 'l4'], driver: '580' }),
      mig: [{ gpu: 0, profile: '1g.10gb', count: 7 }],
    };
    expect(judgeFit(request, BY_FACTS).verdict).toBe('ok');
    const other = { ...request, mig: [{ gpu: 1, profile: '1g.10gb', count: 7 }] };
    expect(judgeFit(other, BY_FACTS).verdict).toBe('refused');
  });
});

describe('MIG', () => {
  const RTX: ShortRequest = { gpus: ['rtx-pro-6000-server'], mig: ['1g.24gb*4'] };

  it('needs a later driver than the product itself', () => {
    // The first H100 driver is 525.60; MIG on it was mended in 525.85.12.
    const short: ShortRequest = { gpus: ['h100-pcie'], driver: '525.60.13' };
    expect(rulesOf(fitOf(short))).not.toContain('mig-driver');
    expect(verdictOf({ ...short, mig: ['1g.10gb'] })).toEqual(['refused', 'mig-driver']);
    expect(fitOf({ ...short, driver: '525.85.12', mig: ['1g.10gb'] }).verdict).not.toBe('refused');
    expect(verdictOf({ ...RTX, driver: '580' })).toEqual(['ok']);
  });

  it('does not work on one driver of RTX PRO 6000, which is of no matter without it', () => {
    expect(rulesOf(fitOf({ ...RTX, driver: '575.57.08' }))).toContain('known-issue');
    expect(rulesOf(fitOf({ ...RTX, mig: [], driver: '575.57.08' }))).not.toContain('known-issue');
  });
});

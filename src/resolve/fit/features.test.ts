/** Features that a runtime must have on every GPU. */
import { describe, expect, it } from 'vitest';

import { fitOf, rulesOf, type ShortRequest } from '../../../test/support/fit.ts';
import type { Fit } from './fit.ts';

function fitFor(gpu: string, runtime: string, more: Partial<ShortRequest> = {}): Fit {
  return fitOf({ gpus: [gpu], driver: '580', runtimes: [runtime], ...more });
}

function suggestionsOf({ findings }: Fit): string[] {
  return findings.flatMap(({ suggestions }) => suggestions.map(({ text }) => text));
}

describe('a feature of a runtime', () => {
  it.each([
    ['l4', 'vllm#fp8', []],
    ['a10', 'vllm#fp8', ['runtime-feature']],
    ['a10', 'vllm#bfloat16', []],
    ['t4', 'vllm#bfloat16', ['runtime-feature']],
    ['t4', 'vllm', []],
    ['h100-pcie', 'vllm#bfloat16#fp8#flash-attention', []],
  ])('%s, %s: %j', (gpu, runtime, rules) => {
    expect(rulesOf(fitFor(gpu, runtime))).toEqual(rules);
  });

  it('must work on every GPU, and names its fact', () => {
    const fit = fitFor('l4', 'vllm#fp8', { gpus: ['l4', 'a30'] });
    expect(fit.verdict).toBe('refused');
    expect(fit.findings[0]?.message).toContain('needs compute capability 8.9, and A30 has 8.0');
    expect(fit.findings[0]?.rows[0]?.sources.length).toBeGreaterThan(0);
    expect(suggestionsOf(fit)).toContain('features of vllm: without fp8');
  });

  it('is not lost on the way to another release, nor to another runtime', () => {
    // No release of vLLM makes a T4 know bfloat16: none may be suggested.
    const fit = fitFor('t4', 'vllm@0.20#bfloat16');
    expect(suggestionsOf(fit).filter((text) => text.startsWith('runtimes: vllm'))).toEqual([]);
  });

  it('that there is not is refused, with those like it', () => {
    const fit = fitFor('l4', 'vllm#fp9');
    expect(rulesOf(fit)).toEqual(['runtime-feature']);
    expect(fit.verdict).toBe('refused');
    expect(suggestionsOf(fit)).toContain('features of vllm: fp8 for fp9');
  });

  it('of a runtime that nothing is known of is a warning', () => {
    const fit = fitFor('l4', 'sglang#fp8');
    expect([fit.verdict, rulesOf(fit).includes('runtime-feature')]).toEqual(['warning', true]);
  });
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { runInProcess } from '../../test/support/in-process.ts';
import type { Finding } from '../errors.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-load-'));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

/** Code and message of every error of a declaration. */
async function errorsOf(text: string): Promise<string[]> {
  await writeFile(join(root, 'node.yaml'), `name: node\nbase: debian@13\nkernel: generic\n${text}`);
  const { stdout } = await runInProcess(root, ['validate', 'node.yaml', '--json'], {});
  const { findings } = JSON.parse(stdout) as { readonly findings: readonly Finding[] };
  return findings
    .filter(({ severity }) => severity === 'error')
    .map(({ code, message }) => `${code} ${message}`);
}

describe('a container without a digest', () => {
  it('is asked for one where it can run', async () => {
    expect(await errorsOf('gpus: [h100-pcie]\ndriver: nvidia@580\nruntimes: [vllm]\n')).toEqual([
      expect.stringMatching(/^SPEC_INVALID vllm is the container .* digest: add/),
    ]);
  });

  it('is refused, and asked for nothing, where it cannot', async () => {
    expect(await errorsOf('gpus: [mi300x]\ndriver: amdgpu\nruntimes: [vllm]\n')).toEqual([
      expect.stringMatching(/^INCOMPATIBLE mi300x and vllm cannot be together/),
    ]);
  });
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runInProcess, type InProcessResult } from '../../../test/support/in-process.ts';

const FITS = `name: fits
base: debian@13
kernelArguments: [nvidia_uvm.uvm_disable_hmm=1]
gpus: [a30]
driver: auto
cuda: auto
runtimes: [vllm@0.20]
`;

const REFUSED = `name: refused
base: debian@13
gpus:
  - l4
  - v100
driver: nvidia@580
cuda: "13.0"
kernelArguments: [nvidia_uvm.uvm_disable_hmm=1]
`;

let cwd = '';

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'ingot explain '));
  await writeFile(join(cwd, 'fits.yaml'), FITS);
  await writeFile(join(cwd, 'refused.yaml'), REFUSED);
  await writeFile(join(cwd, 'plain.yaml'), 'name: plain\nbase: debian@13\n');
});

afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
});

const ingot = (...args: readonly string[]): Promise<InProcessResult> => runInProcess(cwd, args);

describe('ingot explain', () => {
  it('says why each choice was made, by the facts alone', async () => {
    const { exitCode, stdout } = await ingot('explain', 'fits.yaml', '--facts');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('fits: everything fits\n');
    expect(stdout).toContain('driver: 580.178.04\n  - left to the solver\n  - R580 is a long-term branch');
    expect(stdout).toContain('cuda: 13.0.2\n');
    expect(stdout).toContain('vllm: 0.20\n  - declared as 0.20\n  - built for CUDA 13.0\n');
  });

  it('says it of one thing alone', async () => {
    const { stdout } = await ingot('explain', 'fits.yaml', 'modules', '--facts');
    expect(stdout).toContain('modules: open\n');
    expect(stdout).not.toContain('driver: 580');
    const { stdout: runtime } = await ingot('explain', 'fits.yaml', 'vllm', '--facts');
    expect(runtime).toContain('vllm: 0.20\n');
  });

  it('says it of several things', async () => {
    const { stdout } = await ingot('explain', 'fits.yaml', 'vllm', 'cuda', '--facts');
    expect(stdout).toContain('cuda: 13.0.2\n');
    expect(stdout).toContain('vllm: 0.20\n');
    expect(stdout).not.toContain('driver: 580');
    await expect(ingot('explain', 'fits.yaml', 'cuda', 'drivr', '--facts')).rejects.toMatchObject({
      code: 'USAGE',
    });
  });

  it('refuses a topic that there is not, and names one like it', async () => {
    await expect(ingot('explain', 'fits.yaml', 'drivr', '--facts')).rejects.toMatchObject({
      code: 'USAGE',
      hint: 'did you mean driver?',
    });
    await expect(ingot('explain', 'fits.yaml', 'kernel', '--facts')).rejects.toMatchObject({
      code: 'USAGE',
      message: 'the image has no kernel to explain',
    });
  });

  it('shows a refusal with its place, rule, facts and what to write', async () => {
    const { exitCode, stdout } = await ingot('explain', 'refused.yaml', '--facts');
    expect(exitCode).toBe(2);
    expect(stdout).toContain('refused: it does not fit');
    expect(stdout).toContain(
      'error[INCOMPATIBLE]: v100 and CUDA 13.0 cannot be together: Tesla V100 SXM2 16GB is Volta, which CUDA 12 is the last to support, not 13.0.2',
    );
    expect(stdout).toContain('7 | cuda: "13.0"');
    expect(stdout).toContain('rule: cuda-architecture');
    expect(stdout).toMatch(/fact: drivers\/nvidia\/architectures\.yaml:\d+ \(/);
    expect(stdout).toContain('hint: cuda: "12.9"\n   or gpus: without v100');
  });

  it('shows what GPUs are split into, and what of that cannot be, at its place', async () => {
    const head = 'name: split\nbase: debian@13\ndriver: auto\ngpus:\n  - l4\n  - use: h100-pcie\n';
    await writeFile(join(cwd, 'split.yaml'), `${head}    mig: {1g.10gb: 2, 2g.20gb: 1}\n`);
    const { stdout } = await ingot('explain', 'split.yaml', 'gpus', '--facts');
    expect(stdout).toContain('- to be split by MIG into 2 × 1g.10gb, 1 × 2g.20gb; the image says so');
    expect(stdout).toContain('- MIG profiles: 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb');

    await writeFile(join(cwd, 'split.yaml'), `${head}    mig: {1g.10gb: 2, 2g.24gb: 1}\n`);
    const refused = await ingot('validate', 'split.yaml');
    expect(refused.exitCode).toBe(2);
    expect(refused.stdout).toContain('H100 PCIe 80GB has no MIG profile 2g.24gb');
    expect(refused.stdout).toContain('split.yaml:7:32');
    expect(refused.stdout).toContain('mig of h100-pcie: 2g.20gb for 2g.24gb');
  });

  it('answers for programs', async () => {
    const { exitCode, stdout } = await ingot('explain', 'refused.yaml', '--facts', '--json');
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      schemaVersion: 1,
      name: 'refused',
      verdict: 'refused',
      byFacts: true,
      choices: [],
      findings: [
        {
          code: 'INCOMPATIBLE',
          severity: 'error',
          rule: 'cuda-architecture',
          sources: [{ confidence: 'high', file: 'drivers/nvidia/architectures.yaml' }, {}, {}],
          file: 'refused.yaml',
          line: 7,
          column: 7,
          suggestions: ['cuda: "12.9"', 'gpus: without v100', 'cuda: leave it out'],
        },
      ],
    });
  });

  it('has nothing to say of an image without accelerators', async () => {
    expect(await ingot('explain', 'plain.yaml')).toMatchObject({
      exitCode: 0,
      stdout: 'plain: asks for no GPU, driver, CUDA or runtime, so there is nothing to choose\n',
    });
  });

  it('prints the matrix, and writes it as a page that needs nothing else', async () => {
    const { stdout } = await ingot('explain', 'refused.yaml', '--facts', '--matrix', '--html', 'matrix.html');
    expect(stdout).toMatch(/^DRIVER +SUPPORT +CUDA 13\.4 +13\.3/m);
    expect(stdout).toMatch(/^580\.178\.04 +long-term until 2028-06 +no [a-z]/m);
    expect(stdout).toContain('The table is in matrix.html.');
    const page = await readFile(join(cwd, 'matrix.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page).not.toMatch(/<script|<link|src=|https?:/);
    expect(page.match(/<table>/g)).toHaveLength(2);
    // Every letter leads to a rule that is there.
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target);
    expect(targets.length).toBeGreaterThan(0);
    for (const target of new Set(targets)) expect(page).toContain(`id="${target ?? ''}"`);
  });

  it('says where a page cannot be written', async () => {
    await expect(ingot('explain', 'fits.yaml', '--facts', '--html', 'no/where.html')).rejects.toMatchObject({
      code: 'USAGE',
      message: 'cannot write no/where.html',
    });
  });
});

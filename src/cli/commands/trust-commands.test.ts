/** `key`, `sign` and `verify` on an image in a layout, and what a project's trust.yaml says of it. */
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type InProcessResult, runInProcess } from '../../../test/support/in-process.ts';
import { makeTestImage, type TestImage } from '../../../test/support/test-image.ts';

const REPOSITORY = 'registry.example.com/ai/node';
const env = { COSIGN_PASSWORD: 'correct horse' };

let cwd = '';
let image: TestImage;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'ingot-trust-'));
  await mkdir(join(cwd, 'keys'));
  await mkdir(join(cwd, '.git')); // the search for trust.yaml ends here
  image = await makeTestImage(join(cwd, 'image'), [10]);
  await ingot('key', 'new', 'keys/node');
  await ingot('sign', `oci:${image.layout}`, '--as', `${REPOSITORY}:1.0`, '--key', 'keys/node.key');
});
afterAll(async () => {
  await rm(cwd, { recursive: true });
});

function ingot(...args: readonly string[]): Promise<InProcessResult> {
  return ingotIn(cwd, ...args);
}

function ingotIn(folder: string, ...args: readonly string[]): Promise<InProcessResult> {
  const store = ['--store', join(cwd, 'store'), '--json'];
  return runInProcess(folder, [...args, ...store], { env, onStderr: () => undefined });
}

describe('a new key', () => {
  test('is for its owner alone, and takes nobody’s place', async () => {
    expect(((await stat(join(cwd, 'keys/node.key'))).mode & 0o777).toString(8)).toBe('600');
    const before = await readFile(join(cwd, 'keys/node.key'), 'utf8');
    await expect(ingot('key', 'new', 'keys/node')).rejects.toMatchObject({ code: 'USAGE' });
    await rm(join(cwd, 'keys/node.pub'));
    await expect(ingot('key', 'new', 'keys/node')).rejects.toMatchObject({ code: 'USAGE' });
    expect(await readFile(join(cwd, 'keys/node.key'), 'utf8')).toBe(before);
    const { stdout } = await ingot('key', 'show', 'keys/node.key');
    const { publicKey } = JSON.parse(stdout) as { readonly publicKey: string };
    await writeFile(join(cwd, 'keys/node.pub'), publicKey);
    expect(await readdir(join(cwd, 'keys'))).toEqual(['node.key', 'node.pub']);
  });

  test('takes a password', async () => {
    const made = runInProcess(cwd, ['key', 'new', 'other'], { onStderr: () => undefined });
    await expect(made).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('signing', () => {
  test('takes key and password from descriptors', async () => {
    await writeFile(join(cwd, 'password'), 'correct horse\n');
    const [key, password] = [openSync(join(cwd, 'keys/node.key'), 'r'), openSync(join(cwd, 'password'), 'r')];
    const args = ['sign', `oci:${image.layout}`, '--as', `${REPOSITORY}:1.0`];
    const fds = ['--key-fd', String(key), '--password-fd', String(password)];
    const { stdout } = await runInProcess(cwd, [...args, ...fds, '--store', join(cwd, 'store'), '--json'], {
      onStderr: () => undefined,
    });
    // Signed with this key before.
    expect(JSON.parse(stdout)).toMatchObject({
      manifests: [{ added: { bundle: false, simpleSignatures: 0 } }],
    });
    // Closed by who read them: no program could inherit them.
    for (const descriptor of [key, password])
      expect(() => {
        closeSync(descriptor);
      }).toThrow('EBADF');
  });

  test.each([
    ['no key', ['sign', 'oci:image/layout', '--as', REPOSITORY]],
    ['two keys', ['sign', 'oci:image/layout', '--as', REPOSITORY, '--key', 'keys/node.key', '--key-fd', '3']],
    ['no name', ['sign', 'oci:image/layout', '--key', 'keys/node.key']],
    ['a public key', ['sign', 'oci:image/layout', '--as', REPOSITORY, '--key', 'keys/node.pub']],
    ['an archive', ['sign', 'oci-archive:x.tar', '--as', REPOSITORY, '--key', 'keys/node.key']],
    [
      'a key on the command line',
      ['sign', 'oci:image/layout', '--as', REPOSITORY, '--key-fd', 'correct horse'],
    ],
  ])('with %s is refused', async (_name, args) => {
    const error: unknown = await ingot(...args).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'USAGE' });
    expect(String(error)).not.toContain('correct horse');
  });
});

describe('trust.yaml', () => {
  const write = (text: string): Promise<void> => writeFile(join(cwd, 'trust.yaml'), text);
  const verdict = async (folder: string, ...more: readonly string[]): Promise<unknown> => {
    const as = ['--as', REPOSITORY, ...more];
    const { exitCode, stdout } = await ingotIn(folder, 'verify', `oci:${image.layout}`, ...as);
    const { verdict: said, policy } = JSON.parse(stdout) as { verdict: string; policy?: { line: number } };
    return [exitCode, said, policy?.line];
  };

  test('is found from a folder below, with its keys beside it', async () => {
    await write(`repositories:\n  ${REPOSITORY}:\n    keys: [keys/node.pub]\n`);
    await mkdir(join(cwd, 'deep/down'), { recursive: true });
    for (const folder of [cwd, join(cwd, 'deep/down')])
      expect(await verdict(folder)).toEqual([0, 'trusted', 2]);
    expect(await verdict(tmpdir(), '--policy', join(cwd, 'trust.yaml'))).toEqual([0, 'trusted', 2]);
  });

  test.each([
    ['default: accept\n', [0, 'accepted', 1]],
    ['default: reject\n', [1, 'refused', 1]],
    ['repositories:\n  registry.example.com/*: reject\n', [1, 'refused', 2]],
    [
      `repositories:\n  ${REPOSITORY}: {keys: [keys/node.pub], signedAs: registry.example.com/x}\n`,
      [0, 'trusted', 2],
    ],
    [`repositories:\n  ${REPOSITORY}: {keys: [keys/node.pub], attestations: [vuln]}\n`, [1, 'refused', 2]],
  ])('%j', async (text, expected) => {
    await write(text);
    expect(await verdict(cwd)).toEqual(expected);
  });

  test.each([
    ['keys that are not there', `repositories:\n  ${REPOSITORY}: {keys: [gone.pub]}\n`, 'TRUST_INVALID'],
    ['a private key', `repositories:\n  ${REPOSITORY}: {keys: [keys/node.key]}\n`, 'TRUST_INVALID'],
    ['no YAML', '{', 'TRUST_INVALID'],
  ])('with %s is refused', async (_name, text, code) => {
    await write(text);
    await expect(verdict(cwd)).rejects.toMatchObject({ code });
  });

  test('or a key must say what is trusted', async () => {
    await rm(join(cwd, 'trust.yaml'));
    await expect(verdict(cwd)).rejects.toMatchObject({ code: 'USAGE' });
    expect(await verdict(cwd, '--key', 'keys/node.pub')).toEqual([0, 'trusted', undefined]);
    await expect(verdict(cwd, '--key', 'keys/node.pub', '--policy', 'x')).rejects.toMatchObject({
      code: 'USAGE',
    });
  });
});

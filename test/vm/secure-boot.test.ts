/**
 * Firmware that boots only what is signed: Debian's shim, GRUB and kernel. An update becomes good there, and one whose
 * kernel is not what was signed is not even tried. `npm run test:vm`. Needs root.
 */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import { TEST_FOLDER } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { BOOT_MS, GUEST_HOST, VmImages, WELL } from '../support/vm-node.ts';

let scratch: string;
let registry: TestRegistry;
let images: VmImages;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-secure-'));
  images = await VmImages.open(scratch);
  registry = await startRegistry({ folder: scratch });
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

/** The kernel of the shared image, and where it lies. */
async function kernel(): Promise<{ readonly path: string; readonly bytes: Buffer }> {
  const folder = join(scratch, 'kernel');
  for (const blob of await readdir(join(images.layout, 'blobs/sha256'))) {
    const archive = join(images.layout, 'blobs/sha256', blob);
    const find = ['--zstd', '--file', archive, '--wildcards', '*usr/lib/modules/*/vmlinuz'];
    const listed = await run(['tar', '--list', ...find], { okExitCodes: [0, 1, 2] });
    const path = listed.stdout.split('\n')[0] ?? '';
    if (listed.exitCode !== 0 || path === '') continue;
    await mkdir(folder);
    await run(['tar', '--extract', '--directory', folder, ...find]);
    return { path: path.replace(/^\.\//, ''), bytes: await readFile(join(folder, path)) };
  }
  throw new Error('no layer has a kernel');
}

async function push(name: string): Promise<string> {
  const { host } = registry;
  await ingotJson(['push', `oci:${images.layout}:${name}`, `${host}/node:${name}`, '--insecure', host]);
  const guest = `${GUEST_HOST}:${host.split(':')[1] ?? ''}`;
  return `${guest}/node:${name} --insecure ${guest}`;
}

test(
  'an update becomes good, and one with another kernel is not tried',
  { timeout: 5 * BOOT_MS },
  async () => {
    await images.add('20991231.1', WELL);
    const good = await images.add('20991231.2', { ...WELL, 'usr/share/second': '' });
    const { path, bytes } = await kernel();
    // Beyond its headers, so that only the signature tells.
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    const tampered = await images.add('20991231.3', { ...WELL, [path]: bytes });

    await using node = await images.start(await images.install('20991231.1'), { secureBoot: true });
    await node.settle();
    expect(await node.sh('od -An -tx1 /sys/firmware/efi/efivars/SecureBoot-*')).toMatch(/ 01$/);
    expect(await node.sh('cat /sys/kernel/security/lockdown')).toContain('[integrity]');

    await node.ingotJson(`node switch ${await push(good.name)}`);
    expect(await node.restart()).toBe(1);
    expect(await node.status()).toMatchObject({ booted: { version: good.name }, boot: { blessed: true } });

    await node.ingotJson(`node switch ${await push(tampered.name)}`);
    expect(await node.restart()).toBe(1);
    const back = await node.status();
    expect(back).toMatchObject({
      booted: { version: good.name },
      boot: { blessed: true, back: 'unloadable' },
    });
    expect(back.updates[0]).toMatchObject({
      version: tampered.name,
      outcome: 'settled',
      reason: 'its kernel could not be loaded',
    });
    expect(node.vm.console.find(/bad shim signature|invalid signature/)).toBeDefined();
  },
);

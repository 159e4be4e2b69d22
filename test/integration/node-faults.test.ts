/**
 * What goes wrong around an update, on a node that is real but for its kernel and init, with a real registry, and file
 * systems of its own that are full when they are to be. Needs root and loop devices.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import type { Digest } from '../../src/digest.ts';
import { run, splitLines } from '../../src/proc/run.ts';
import { GIVEN } from '../support/booted-node.ts';
import type { CliResult } from '../support/cli.ts';
import { type Decide, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { addNextImage, type NextImage } from '../support/next-image.ts';
import { freePort } from '../support/ports.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { mountSized, type SizedFileSystem } from '../support/sized-file-system.ts';
import { writeTree } from '../support/small-image.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const MIB = 1024 * 1024;
const REPOSITORY = 'ai/node';
let machine: TestNode;
let registry: TestRegistry;
let root: SizedFileSystem;
let boot: SizedFileSystem;
let second: NextImage;
let third: NextImage;

beforeAll(async () => {
  registry = await startRegistry();
  machine = await startTestNode('faults', async (folder) => {
    root = await mountSized(folder, `${folder}.img`, 2048 * MIB);
    return root;
  });
  const { base, layout, scratch } = machine;
  boot = await mountSized(join(scratch, 'machine/boot'), join(scratch, 'boot.img'), 128 * MIB);
  const next = (name: string, bytes: number): Promise<NextImage> =>
    addNextImage(layout, base.version, scratch, {
      name,
      // Nothing that a compressor could shorten.
      fill: async (tree) => {
        await writeTree(tree, { 'usr/share/next': name });
        await run([
          'dd',
          'if=/dev/urandom',
          `of=${tree}/usr/share/random`,
          'bs=1M',
          `count=${bytes / MIB}`,
          'status=none',
        ]);
      },
    });
  second = await next('20991231.2', 24 * MIB);
  third = await next('20991231.3', MIB);
  await push(base.version);
  await push(second.name);
  await push(third.name);
});

afterAll(async () => {
  await boot[Symbol.asyncDispose]();
  await machine[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

beforeEach(async () => {
  pointTo('stable', second);
  await boot.empty();
  await root.empty();
});

async function push(name: string): Promise<void> {
  await run([
    ...(['skopeo', '--insecure-policy', 'copy', '--dest-tls-verify=false', '--preserve-digests'] as const),
    ...[`oci:${machine.layout}:${name}`, `docker://${registry.host}/${REPOSITORY}:${name}`],
  ]);
}

/** Lets a tag lead to an image. At once: the registry that is asked meanwhile knows it already. */
function pointTo(tag: string, { digest }: { readonly digest: Digest }): void {
  const manifest = join(machine.layout, 'blobs/sha256', digest.slice(7));
  execFileSync('curl', [
    ...['--silent', '--show-error', '--fail', '--request', 'PUT', '--data-binary', `@${manifest}`],
    ...['--header', 'Content-Type: application/vnd.oci.image.manifest.v1+json'],
    `http://${registry.host}/v2/${REPOSITORY}/manifests/${tag}`,
  ]);
}

const switchTo = (host: string, ...more: readonly string[]): string[] => [
  ...['node', 'switch', `${host}/${REPOSITORY}:stable`, '--insecure', host, '--json', ...more],
];
async function through(
  decide: Decide,
  ...more: readonly string[]
): Promise<CliResult & { proxy: FaultProxy }> {
  await using proxy = await startFaultProxy(registry.host, decide);
  return { ...(await machine.node.ingot(switchTo(proxy.host, ...more))), proxy };
}
const isLayer = (url: string): boolean => url.includes(second.layer.digest);
const codeOf = ({ stdout }: CliResult): unknown =>
  (JSON.parse(stdout) as { error?: { code: string } }).error?.code;
async function status(): Promise<Record<string, { digest?: string; version?: string }>> {
  return (await machine.node.ingotJson(['node', 'status'])) as Record<string, { digest?: string }>;
}
async function nothingStaged(): Promise<void> {
  expect(Object.keys(await status())).not.toContain('staged');
  expect((await machine.node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);
}
/** Whatever was staged is given up, and what was pulled for it goes. */
async function forget(): Promise<void> {
  const undeployed = await machine.node.exec(['ostree', 'admin', 'undeploy', '0']);
  expect(undeployed.exitCode, undeployed.stderr).toBe(0);
  await machine.node.ingotJson(['node', 'gc']);
}

test('there is nothing to go back to on a node that was just installed', async () => {
  const { exitCode, stderr } = await machine.node.ingot(['node', 'rollback']);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/error\[NOT_FOUND\]: there is no other deployment to go back to/);
});

describe('a registry', () => {
  test('that is gone is said, and written down', async () => {
    const { exitCode, stdout } = await machine.node.ingot(switchTo(`127.0.0.1:${await freePort()}`));
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'REGISTRY_UNREACHABLE' } });
    expect(await machine.node.ingotJson(['node', 'history', '--limit', '1'])).toMatchObject({
      updates: [{ outcome: 'failed' }],
    });
  });

  test('that sends another layer than it said is found out', async () => {
    const said = await through(({ url }) =>
      isLayer(url) ? { change: (bytes) => Buffer.from(bytes).fill(7, 100, 200) } : undefined,
    );
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DIGEST_MISMATCH']);
    await nothingStaged();
  });

  test('that sends another image than the digest which it said is found out', async () => {
    const said = await through(({ url, method }) =>
      method === 'GET' && url.endsWith('/manifests/stable')
        ? { addHeaders: { 'docker-content-digest': third.digest } }
        : undefined,
    );
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DIGEST_MISMATCH']);
    await nothingStaged();
  });

  test('whose tag moves while it is pulled gives the image that it led to', async () => {
    const said = await through(({ url }) => {
      if (isLayer(url)) pointTo('stable', third);
      return undefined;
    });
    expect(JSON.parse(said.stdout)).toMatchObject({ done: 'staged', offered: { digest: second.digest } });
    expect((await status())['staged']).toMatchObject({ digest: second.digest });
    await forget();
  });

  test('that is cut off is asked for the rest', async () => {
    const said = await through(({ url }, earlier) =>
      isLayer(url) && !earlier.some((request) => isLayer(request.url))
        ? { cutAnswerAfter: 5 * MIB }
        : undefined,
    );
    expect(JSON.parse(said.stdout)).toMatchObject({ done: 'staged' });
    expect(said.proxy.seen.filter(({ url }) => isLayer(url)).at(-1)?.headers.range).toMatch(/^bytes=\d{6,}-/);
    await forget();
  });
});

describe('two at once', () => {
  /** A pull that hangs in the middle; ends by itself when the proxy does. */
  async function hanging(
    proxy: FaultProxy,
  ): Promise<{ end: (signal: NodeJS.Signals) => Promise<number | null> }> {
    const [program, ...args] = [...machine.node.ingotProgram, ...switchTo(proxy.host)];
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    splitLines(child.stderr, () => undefined);
    for (let tries = 0; !proxy.seen.some(({ url }) => isLayer(url)); tries += 1) {
      if (tries > 600) throw new Error('it pulls nothing');
      await sleep(100);
    }
    await sleep(1500);
    return {
      end: (signal) => {
        child.kill(signal);
        return ended;
      },
    };
  }

  test('the second is told, and the first, killed, leaves what it has for the next', async () => {
    await using proxy = await startFaultProxy(registry.host, ({ url }) =>
      isLayer(url) ? { stallAnswerAfter: 8 * MIB } : undefined,
    );
    const first = await hanging(proxy);
    const late = await machine.node.ingot(switchTo(registry.host));
    expect([late.exitCode, codeOf(late)]).toEqual([1, 'NODE_BUSY']);
    expect(await machine.node.ingotJson(['node', 'history', '--limit', '1'])).toMatchObject({
      updates: [{ outcome: 'started' }],
    });
    await first.end('SIGKILL');
    await nothingStaged();
    const again = await through(() => undefined);
    expect(JSON.parse(again.stdout)).toMatchObject({ done: 'staged', offered: { digest: second.digest } });
    const [asked] = again.proxy.seen.filter(({ url, method }) => isLayer(url) && method === 'GET');
    expect(asked?.headers.range).toMatch(/^bytes=\d{6,}-/);
    await forget();
  });
});

test('an update takes the place of one that is staged', async () => {
  await machine.node.ingotJson(switchTo(registry.host));
  pointTo('stable', third);
  expect(await machine.node.ingotJson(['node', 'upgrade', '--insecure', registry.host])).toMatchObject({
    done: 'staged',
    offered: { digest: third.digest },
  });
  const { deployments } = (await status()) as unknown as {
    deployments: { state: string; version: string }[];
  };
  expect(deployments.map(({ state, version }) => [state, version])).toEqual([
    ['staged', third.name],
    ['booted', machine.base.version],
  ]);
  await forget();
});

describe('a disk that is full', () => {
  test('before the first byte refuses, and pulls nothing', async () => {
    // What it needs is bounded by what the manifest says.
    await root.fill(110 * MIB);
    const said = await through(() => undefined);
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DISK_FULL']);
    expect(said.proxy.seen.filter(({ url }) => isLayer(url))).toEqual([]);
    await nothingStaged();
  });

  test('while it is pulled or imported ends it, and with room it goes on', async () => {
    const folder = join(machine.scratch, 'machine');
    const said = await through(({ url }) => {
      const all = String(freeOf(folder) - 6 * MIB);
      if (isLayer(url)) execFileSync('fallocate', ['-l', all, join(folder, 'filler')]);
      return undefined;
    });
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DISK_FULL']);
    await root.empty();
    await nothingStaged();
    expect(await machine.node.ingotJson(switchTo(registry.host))).toMatchObject({ done: 'staged' });
    await forget();
  });

  test('when it is staged says so, and the download is kept', async () => {
    await machine.node.ingotJson(switchTo(registry.host));
    const undeployed = await machine.node.exec(['ostree', 'admin', 'undeploy', '0']);
    expect(undeployed.exitCode).toBe(0);
    await root.fill(64 * 1024);
    const said = await machine.node.ingot(switchTo(registry.host));
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DISK_FULL']);
    await root.empty();
    await nothingStaged();
    expect(await machine.node.ingotJson(switchTo(registry.host))).toMatchObject({
      done: 'staged',
      pulled: { layers: 0 },
    });
    await forget();
  });

  test('of the boot loader’s refuses a kernel that would not fit when the node goes down', async () => {
    const { layout, base, scratch, node } = machine;
    const kernel = await addNextImage(layout, base.version, scratch, {
      name: '20991231.9',
      fill: async (tree) => {
        const [release = ''] = (await node.exec(['ls', '/usr/lib/modules'])).stdout.split('\n');
        const modules = join(tree, 'usr/lib/modules', release);
        await mkdir(modules, { recursive: true });
        await run([
          'dd',
          'if=/dev/urandom',
          `of=${modules}/initramfs.img`,
          'bs=1M',
          'count=24',
          'status=none',
        ]);
      },
    });
    const offered = ['node', 'switch', `oci:${GIVEN}/layout:${kernel.name}`, '--json'];
    await boot.fill(20 * MIB);
    const said = await node.ingot(offered);
    expect([said.exitCode, codeOf(said)]).toEqual([1, 'DISK_FULL']);
    expect(said.stdout).toMatch(/kernel and initramfs take 3\d MiB in \/boot/);
    await nothingStaged();
    await boot.empty();
    expect(JSON.parse((await node.ingot(offered)).stdout)).toMatchObject({ done: 'staged' });
    await forget();
  });
});

function freeOf(folder: string): number {
  const [blocks = 0, size = 0] = execFileSync('stat', ['-f', '-c', '%a %S', folder], { encoding: 'utf8' })
    .split(' ')
    .map(Number);
  return blocks * size;
}

test('a journal that is garbage is counted, and written on', async () => {
  const { node } = machine;
  const path = node.path('/var/lib/ingot/journal.jsonl');
  const before = await readFile(path);
  const garbage = Buffer.concat([
    Buffer.from([0, 255, 10, 0xc3, 0x28, 10]),
    before,
    Buffer.from('{"at":"2026\u0000'),
  ]);
  await writeFile(path, garbage);
  const { updates, damaged } = (await node.ingotJson(['node', 'history'])) as {
    updates: object[];
    damaged: number;
  };
  expect([damaged, updates.length > 5]).toEqual([3, true]);
  expect(await node.ingotJson(switchTo(registry.host))).toMatchObject({ done: 'staged' });
  expect(await node.ingotJson(['node', 'history', '--limit', '1'])).toMatchObject({
    updates: [{ outcome: 'staged' }],
    damaged: 3,
  });
  await forget();
  await rm(path);
  await mkdir(path);
  // One that is no file at all.
  const said = await node.ingot(['node', 'status', '--json']);
  expect([said.exitCode, codeOf(said)]).toEqual([1, 'NODE_FAILED']);
  await rm(path, { recursive: true });
  await writeFile(path, before);
});

test('a tag that is not there is said', async () => {
  const { host } = registry;
  const said = await machine.node.ingot([
    ...['node', 'switch', `${host}/${REPOSITORY}:none`, '--insecure', host, '--json'],
  ]);
  expect([said.exitCode, codeOf(said)]).toEqual([1, 'NOT_FOUND']);
});

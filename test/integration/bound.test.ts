/** Containers and models that belong to an image: from a tag in a registry to a node, and away with it. Needs root. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { loadLock, lockPathOf } from '../../src/cli/load-lock.ts';
import { type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { boundOfOffer } from '../../src/node/bound/bound-content.ts';
import { placeBound } from '../../src/node/bound/place-bound.ts';
import type { ImageSource } from '../../src/oci/image-transfer.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import type { ImageReference } from '../../src/oci/reference.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import { DiskTools } from '../../src/ostree/disk-tools.ts';
import { BOUND_PATH, BOUND_STORE, modelPlace, parseBound } from '../../src/plan/bound.ts';
import { run } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { Store } from '../../src/store/store.ts';
import { debugfsArgv } from '../../src/tools/mke2fs.ts';
import { parseSfdiskJson, sfdiskReadArgv } from '../../src/tools/sfdisk.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { BootedNode } from '../support/booted-node.ts';
import { pushContainer, pushModel } from '../support/bound-content.ts';
import { TEST_FOLDER, TEST_STORE } from '../support/built-image.ts';
import { type CliResult, ingot, ingotJson } from '../support/cli.ts';
import { DISK_BYTES, installFrom } from '../support/install-disk.ts';
import { emptyLoopDevice } from '../support/loop-device.ts';
import { testTools } from '../support/derived-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';

let scratch: string;
let registry: TestRegistry;
let declaration: string;
let layout: string;
let node: BootedNode;
let toolsRoot: ToolsRoot;
let host: string;

const WEIGHTS = randomBytes(300_000);
const SHARED = { 'usr/share/shared': randomBytes(100_000).toString('base64') };
const layersOf = (version: string): Readonly<Record<string, string>>[] => [
  SHARED,
  { 'usr/share/version': version, 'usr/share/own': randomBytes(50_000).toString('base64') },
];

function insecure(): string[] {
  return ['--insecure', host];
}

async function build(): Promise<{ readonly version: string; readonly digest: string }> {
  const built = await ingotJson(['--store', TEST_STORE, 'build', declaration, '--output', layout]);
  const version = String(built['version']);
  await ingotJson([
    ...['push', `oci:${layout}:${version}`, `${host}/nodes/node:${version}`, `${host}/nodes/node:stable`],
    ...insecure(),
  ]);
  return { version, digest: String(built['digest']) };
}

async function lock(...more: readonly string[]): Promise<Lock> {
  await ingotJson(['--store', TEST_STORE, 'lock', ...more, ...insecure(), declaration]);
  return loadLock(lockPathOf(declaration));
}

const digestsOf = ({ containers = [], models = [] }: Lock): Record<string, string> =>
  Object.fromEntries([...containers, ...models].map(({ name, digest }) => [name, digest]));

beforeAll(async () => {
  await mkdir(TEST_FOLDER, { recursive: true });
  scratch = await mkdtemp(join(TEST_FOLDER, 'bound-'));
  registry = await startRegistry({ folder: scratch });
  ({ host } = registry);
  layout = join(scratch, 'layout');
  declaration = join(scratch, 'node.yaml');
  await writeFile(
    declaration,
    `name: node
base: debian@13
kernel: cloud
agent: true
containers:
  - name: server
    image: ${host}/ai/server:1.0
    publish: ["8080:8080"]
    volumes: ["/usr/share/models/tiny:/models:ro"]
    environment: { GREETING: 'costs $5, 100 %' }
    exec: --model /models/weights.bin
  - name: other
    quadlet: |
      [Unit]
      Description=Written by hand
      [Container]
      Image=${host}/ai/other:1.0
      Network=host
models:
  - { name: tiny, artifact: '${host}/ai/tiny:1' }
`,
  );
  await pushContainer(scratch, `${host}/ai/server:1.0`, layersOf('server 1'));
  await pushContainer(scratch, `${host}/ai/other:1.0`, layersOf('other 1'));
  await pushModel(scratch, `${host}/ai/tiny:1`, { 'weights.bin': WEIGHTS, 'config/tokens.json': '{"v":1}' });
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

async function bound(...args: readonly string[]): Promise<{
  readonly exitCode: number;
  readonly complete: boolean;
  readonly bytes: number;
  readonly items: readonly { readonly name: string; readonly present: boolean }[];
}> {
  const { exitCode, stdout, stderr } = await node.ingot(['node', 'bound', ...args, '--json']);
  if (stdout === '') throw new Error(stderr);
  return { exitCode, ...(JSON.parse(stdout) as Omit<Awaited<ReturnType<typeof bound>>, 'exitCode'>) };
}

/** What Podman finds on the node, with /sysroot read-only as it is there. */
async function podmanHas(image: string): Promise<CliResult> {
  return node.exec(['podman', `--storage-opt=additionalimagestore=${BOUND_STORE}`, 'image', 'exists', image]);
}

async function quadletImage(name: string): Promise<string> {
  const text = await readFile(node.path(`/usr/share/containers/systemd/${name}.container`), 'utf8');
  return /^Image=(.*)$/m.exec(text)?.[1] ?? '';
}

async function readModel(path: string): Promise<string> {
  const { stdout } = await node.exec(['sha256sum', `/usr/share/models/tiny/${path}`]);
  return stdout.slice(0, 64);
}

const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');

test('what cannot be pinned is refused, all of it at once, and no lock is written', async () => {
  const wrong = join(scratch, 'wrong.yaml');
  await pushModel(scratch, `${host}/ai/no-image:1`, { file: 'x' });
  await writeFile(
    wrong,
    `name: wrong
base: debian@13
kernel: cloud
agent: true
containers:
  - { name: gone, image: '${host}/ai/server:gone' }
  - { name: artifact, image: '${host}/ai/no-image:1' }
models:
  - { name: image, artifact: '${host}/ai/server:1.0' }
  - { name: unreachable, artifact: 'localhost:9/ai/tiny:1' }
`,
  );
  const { exitCode, stderr } = await ingot(['--store', TEST_STORE, 'lock', wrong, ...insecure()]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/error\[NOT_FOUND\][^\n]*\n[^\n]*wrong\.yaml:6:5/);
  expect(stderr).toMatch(
    /error\[IMAGE_INVALID\]: [^\n]*no image of a container[^\n]*\n[^\n]*wrong\.yaml:7:5/,
  );
  expect(stderr).toMatch(/error\[IMAGE_INVALID\]: [^\n]*is an index[^\n]*\n[^\n]*wrong\.yaml:9:5/);
  expect(stderr).toMatch(/error\[REGISTRY_UNREACHABLE\][^\n]*\n[^\n]*wrong\.yaml:10:5/);
  await expect(stat(lockPathOf(wrong))).rejects.toThrow(/ENOENT/);
});

describe('from a lock to a node and back', () => {
  let first: Lock;
  let one: { readonly version: string; readonly digest: string };
  let two: { readonly version: string; readonly digest: string };

  test('a lock names what the tags lead to, and stays with it', async () => {
    first = await lock();
    const [server] = first.containers ?? [];
    expect(server).toMatchObject({ name: 'server', image: `${host}/ai/server`, tag: '1.0' });
    const index = await run([
      'skopeo',
      'inspect',
      '--raw',
      '--tls-verify=false',
      `docker://${host}/ai/server:1.0`,
    ]);
    expect(server?.digest).toBe(`sha256:${sha256(index.stdout)}`);
    const { manifests } = JSON.parse(index.stdout) as {
      manifests: { digest: string; platform: { architecture: string } }[];
    };
    expect(server?.manifest).toBe(
      manifests.find(({ platform }) => platform.architecture === 'amd64')?.digest,
    );
    expect(server?.blobs).toHaveLength(3);
    expect(first.models).toMatchObject([
      {
        name: 'tiny',
        artifact: `${host}/ai/tiny`,
        files: [
          { name: 'config/tokens.json', size: 7 },
          { name: 'weights.bin', digest: `sha256:${sha256(WEIGHTS)}`, size: WEIGHTS.length },
        ],
      },
    ]);
    // The tag moves, and the lock does not.
    await pushContainer(scratch, `${host}/ai/server:1.0`, layersOf('server 2'));
    await pushModel(scratch, `${host}/ai/tiny:1`, {
      'weights.bin': WEIGHTS,
      'config/tokens.json': '{"v":2}',
    });
    expect(digestsOf(await lock())).toEqual(digestsOf(first));
    expect((await ingot(['lock', declaration, '--check'])).exitCode).toBe(0);
  });

  test('an image has its quadlets, which Podman’s own generator takes', async () => {
    one = await build();
    ({ toolsRoot } = await testTools({ declaration, store: TEST_STORE } as never));
    const machine = join(scratch, 'machine');
    await mkdir(machine);
    node = await BootedNode.install(`oci:${layout}:${one.version}`, machine, scratch, toolsRoot);
    const { stdout, exitCode, stderr } = await node.exec([
      '/usr/lib/systemd/system-generators/podman-system-generator',
      '--dryrun',
    ]);
    expect(exitCode, stderr).toBe(0);
    const command = /^ExecStart=.*server.*$/m.exec(stdout)?.[0] ?? '';
    const [server, other] = first.containers ?? [];
    expect(command).toContain(`--storage-opt=additionalimagestore=${BOUND_STORE} run`);
    expect(command).toContain('--pull never');
    expect(command).toContain(`${host}/ai/server@${server?.manifest} --model /models/weights.bin`);
    expect(command).toContain('--publish 8080:8080');
    expect(command).toContain('GREETING=costs $$5, 100 %%');
    expect(stdout).toContain(`${host}/ai/other@${other?.manifest}`);
    expect(stdout).toMatch(/Requires=ingot-bound\.service/);
    const content = JSON.parse(await readFile(node.path(BOUND_PATH), 'utf8')) as { containers: object[] };
    expect(content.containers).toMatchObject([{ name: 'server' }, { name: 'other' }]);
    const links = await node.exec(['sh', '-c', 'cat /usr/lib/bootc/bound-images.d/*.container']);
    expect(links.stdout).toContain('Written by hand');
  });

  test('what a fresh node lacks it pulls when it starts, and notes that it did', async () => {
    const before = await bound();
    expect(before).toMatchObject({ exitCode: 1, complete: false });
    expect(before.items.map(({ name, present }) => [name, present])).toEqual([
      ['server', false],
      ['other', false],
      ['tiny', false],
    ]);
    const unit = await readFile(node.path('/usr/lib/systemd/system/ingot-bound.service'), 'utf8');
    const mark = /^ConditionPathExists=!(.*)$/m.exec(unit)?.[1] ?? '';
    await expect(stat(node.path(mark))).rejects.toThrow(/ENOENT/);
    expect(await bound('--pull', ...insecure())).toMatchObject({ exitCode: 0, complete: true, bytes: 0 });
    expect((await stat(node.path(mark))).isFile()).toBe(true);
    expect(await readModel('weights.bin')).toBe(sha256(WEIGHTS));
    expect(await readModel('config/tokens.json')).toBe(sha256('{"v":1}'));
    for (const name of ['server', 'other']) {
      expect((await podmanHas(await quadletImage(name))).exitCode).toBe(0);
    }
    // A container's files: layers of the store, which is read-only, and one of its own over them.
    const podman = `podman --storage-opt=additionalimagestore=${BOUND_STORE}`;
    const look = [
      `id=$(${podman} create --pull=never --network=none "$0" true)`,
      `cat "$(${podman} mount "$id")/usr/share/version"`,
      `${podman} rm --force "$id" > /run/removed`,
    ];
    const seen = await node.exec(['sh', '-ec', look.join('\n'), await quadletImage('server')]);
    expect(seen.stdout, seen.stderr).toBe('server 1');
    const modes = await node.exec([
      'sh',
      '-c',
      'cd /usr/share/models/tiny/ && stat -c %a . weights.bin config',
    ]);
    expect(modes.stdout).toBe('555\n444\n555');
  });

  test('an update tells what it pulls, and has all in place before the node restarts', async () => {
    const second = await lock('--update', 'server', 'tiny');
    expect(digestsOf(second)).not.toEqual(digestsOf(first));
    expect(digestsOf(second)['other']).toBe(digestsOf(first)['other']);
    const { stdout } = await ingot(['diff', lockPathOf(declaration), lockPathOf(declaration)]);
    expect(stdout).toContain('the same');
    two = await build();
    const offered = (await node.ingotJson([
      ...['node', 'switch', `${host}/nodes/node:stable`],
      ...insecure(),
    ])) as { bound: { bytes: number; missing: object[] } };
    expect(offered).toMatchObject({
      done: 'staged',
      bound: {
        missing: [
          { kind: 'container', name: 'server' },
          { kind: 'model', name: 'tiny' },
        ],
      },
    });
    // The layer and the file that both versions have are not pulled again.
    const [server] = second.containers ?? [];
    const shared = new Set(first.containers?.flatMap(({ blobs = [] }) => blobs.map(({ digest }) => digest)));
    const fresh = server?.blobs?.filter(({ digest }) => !shared.has(digest)) ?? [];
    expect(fresh.length).toBe(2);
    expect(offered.bound.bytes).toBe(fresh.reduce((sum, { size }) => sum + size, 0) + 7);
    expect((await podmanHas(`${host}/ai/server@${server?.manifest}`)).exitCode).toBe(0);
    // The running system has its own still.
    expect((await podmanHas(await quadletImage('server'))).exitCode).toBe(0);
    expect(await readModel('config/tokens.json')).toBe(sha256('{"v":1}'));
  });

  test('it restarts into the new ones, and goes back to the old ones', async () => {
    await node.reboot();
    expect(await bound()).toMatchObject({ exitCode: 0, complete: true });
    expect(await readModel('config/tokens.json')).toBe(sha256('{"v":2}'));
    expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);
    await node.ingotJson(['node', 'rollback']);
    await node.reboot();
    expect(await bound()).toMatchObject({ exitCode: 0, complete: true });
    expect(await readModel('config/tokens.json')).toBe(sha256('{"v":1}'));
    expect((await podmanHas(await quadletImage('server'))).exitCode).toBe(0);
  });

  test('what no deployment needs is removed, and nothing else', async () => {
    const before = await node.ingotJson(['node', 'gc']);
    expect(before).toMatchObject({ containers: 0, models: 0 });
    const { deployments } = (await node.ingotJson(['node', 'status'])) as {
      deployments: { index: number; version: string }[];
    };
    const other = deployments.find(({ version }) => version === two.version);
    expect((await node.exec(['ostree', 'admin', 'undeploy', String(other?.index)])).exitCode).toBe(0);
    expect(await node.ingotJson(['node', 'gc'])).toMatchObject({ containers: 1, models: 1 });
    expect(await bound()).toMatchObject({ exitCode: 0, complete: true });
    expect((await podmanHas(await quadletImage('server'))).exitCode).toBe(0);
    const models = await readdir(node.path('/var/lib/ingot/models'));
    expect(models.filter((name) => !name.endsWith('.json'))).toHaveLength(1);
  });

  test('an installer brings them with it', async () => {
    const { version } = await loadLock(lockPathOf(declaration));
    const iso = join(scratch, 'node.iso');
    await ingotJson([
      ...['--store', TEST_STORE, 'disk', `oci:${layout}:${version}`, '--output', iso, '--format', 'iso'],
      ...['--install-to', 'only', '--bound', ...insecure()],
    ]);
    await using loop = await emptyLoopDevice(join(scratch, 'installed.raw'), DISK_BYTES);
    const tools = new DiskTools(toolsRoot);
    expect(await installFrom(iso, loop.path, { tools })).toMatchObject({ state: 'installed' });
    const bind = [{ path: loop.path, device: true }];
    const table = parseSfdiskJson((await tools.run(sfdiskReadArgv(loop.path), bind)).stdout);
    const ask = async (request: 'cat' | 'stat', path: string): Promise<string> => {
      const offset = table.partitions.at(-1)?.offset ?? 0;
      const argv = debugfsArgv(loop.path, offset, `${request} /ostree/deploy/default${path}`);
      return (await tools.run(argv, bind)).stdout;
    };
    const image = await resolveImage({ directory: layout, name: version });
    const content = boundOfOffer({ manifest: image.manifest, reference: version });
    expect(content.containers.map(({ name }) => name).sort()).toEqual(['other', 'server']);
    for (const { manifest, blobs } of content.containers) {
      const inStore = (digest: Digest): string => `/var/lib/ingot/store/blobs/sha256/${hexOf(digest)}`;
      expect(digestOf(await ask('cat', inStore(manifest)))).toBe(manifest);
      for (const { digest, size } of blobs) {
        expect(await ask('stat', inStore(digest))).toMatch(new RegExp(`Size: ${size}$`, 'm'));
      }
    }
    const [model] = content.models;
    const place = model === undefined ? 'nowhere' : modelPlace(model.digest);
    expect(await ask('cat', `${place}/config/tokens.json`)).toMatch(/^\{"v":\d\}$/);
    expect(await ask('stat', `${place}/weights.bin`)).toMatch(new RegExp(`Size: ${WEIGHTS.length}$`, 'm'));
  });

  test('what a disk brought is there without a registry', async () => {
    const content = parseBound(await readFile(node.path(BOUND_PATH), 'utf8'));
    if (content === undefined) throw new Error('nothing is bound');
    for (const path of ['ostree/bootc', 'ostree/ingot/containers']) {
      await rm(join(node.sysroot, path), { recursive: true });
    }
    for (const name of ['models', 'bound', 'store']) {
      await rm(node.path(`/var/lib/ingot/${name}`), { recursive: true });
    }
    expect(await bound()).toMatchObject({ exitCode: 1, complete: false });
    const store = await Store.open(TEST_STORE);
    await using access = await RegistryAccess.open({ env: {}, insecure: [host] });
    const open = (place: ImageReference): ImageSource => access.source(place);
    await placeBound(content, join(node.sysroot, 'ostree/deploy/default'), {
      ...{ open, store, reporter: silentReporter },
    });
    await registry[Symbol.asyncDispose]();
    expect(await bound('--pull', ...insecure())).toMatchObject({ exitCode: 0, complete: true });
    expect(await readModel('config/tokens.json')).toBe(sha256('{"v":1}'));
    expect((await podmanHas(await quadletImage('server'))).exitCode).toBe(0);
    // What Podman has unpacked is not kept twice.
    expect(await readdir(node.path('/var/lib/ingot/store/blobs/sha256'))).toEqual([]);
  });
});

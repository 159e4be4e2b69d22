/**
 * A model server that is a container, on a real node: it comes with the disk, is replaced with the system that names
 * another, and goes back with it, also when the other does not answer. Emulated where there is no KVM. Needs root.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { pushContainer, pushModel } from '../support/bound-content.ts';
import { TEST_FOLDER, TEST_STORE } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { sidTools } from '../support/sid-tools.ts';
import { BOOT_MS, GUEST_HOST, startNode, type VmNode } from '../support/vm-node.ts';

const ASK = [
  'exec 3<>/dev/tcp/127.0.0.1/8080',
  'printf "GET /version HTTP/1.0\\r\\n\\r\\n" >&3',
  'tail -n 1 <&3',
].join('; ');

let scratch: string;
let registry: TestRegistry;
let host: string;
let declaration: string;
let busybox: Buffer;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-containers-'));
  registry = await startRegistry({ folder: scratch });
  ({ host } = registry);
  busybox = await readFile(join((await sidTools(['busybox-static'])).path, 'usr/bin/busybox'));
  declaration = join(scratch, 'node.yaml');
});

/** @param timeout of the check: an emulated node allows ten times that */
async function declare(timeout: string): Promise<void> {
  await writeFile(
    declaration,
    `name: node
base: debian@13
kernel: cloud
agent: true
containers:
  - name: web
    image: ${host}/ai/web:1
    publish: ["8080:8080"]
    volumes: ["/usr/share/models/tiny:/models:ro"]
    exec: /bin/busybox httpd -f -p 8080 -h /www
models:
  - { name: tiny, artifact: '${host}/ai/tiny:1' }
health:
  - name: web-answers
    http: http://127.0.0.1:8080/version
    service: web.service
    timeout: ${timeout}
update: { source: '${host}/nodes/node:stable', tries: 1 }
`,
  );
}

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

/** A server and a model with these contents, and an image that names them. */
async function build(
  files: Readonly<Record<string, string>>,
  weights: string,
  timeout = '60s',
): Promise<{ readonly layout: string; readonly version: string }> {
  await declare(timeout);
  await pushContainer(scratch, `${host}/ai/web:1`, [{ 'bin/busybox': busybox }, files]);
  await pushModel(scratch, `${host}/ai/tiny:1`, { weights });
  await ingotJson(['--store', TEST_STORE, 'lock', '--update', '--insecure', host, declaration]);
  const layout = join(scratch, 'layout');
  const built = await ingotJson(['--store', TEST_STORE, 'build', declaration, '--output', layout]);
  const version = String(built['version']);
  const name = `oci:${layout}:${version}`;
  await ingotJson(['push', name, `${host}/nodes/node:${version}`, '--insecure', host]);
  return { layout, version };
}

/** What the registry is called here must be what the node calls it: its loopback leads to ours. */
async function reachRegistry(node: VmNode): Promise<void> {
  const port = host.split(':')[1] ?? '';
  const program = `
    const { connect, createServer } = require('node:net');
    createServer((one) => {
      const other = connect(${port}, '${GUEST_HOST}');
      one.pipe(other).pipe(one);
      one.on('error', () => other.destroy());
      other.on('error', () => one.destroy());
    }).listen(${port}, '127.0.0.1');`;
  const encoded = Buffer.from(program).toString('base64');
  await node.sh(
    `systemd-run --quiet --unit=registry /usr/lib/ingot/node -e 'eval(Buffer.from("${encoded}", "base64").toString())'`,
  );
}

async function expectServes(node: VmNode, version: string, content: string): Promise<void> {
  expect(await node.status()).toMatchObject({
    booted: { version },
    boot: { blessed: true },
    gate: { healthy: true },
  });
  expect(await node.sh(`bash --norc -c '${ASK}'`)).toBe(content);
  expect(await node.sh('podman exec systemd-web /bin/busybox cat /models/weights')).toBe(content);
}

test(
  'a server in a container belongs to its system, and goes back with it',
  { timeout: 8 * BOOT_MS },
  async () => {
    const first = await build({ 'www/version': 'first\n' }, 'first\n');
    const disk = join(scratch, 'node.raw');
    await ingotJson([
      ...['--store', TEST_STORE, 'disk', `oci:${first.layout}:${first.version}`, '--output', disk],
      ...['--format', 'raw', '--bound', '--insecure', host],
    ]);
    const { toolsRoot } = await testTools({
      declaration,
      store: TEST_STORE,
      layout: first.layout,
      ref: '',
      digest: '',
      version: first.version,
    });
    await using node = await startNode(disk, scratch, toolsRoot, { memoryMiB: 1536 });
    await node.settle();
    await expectServes(node, first.version, 'first');

    const second = await build({ 'www/version': 'second\n' }, 'second\n');
    await reachRegistry(node);
    const follow = (version: string): string =>
      `node switch ${host}/nodes/node:${version} --insecure ${host}`;
    await node.ingotJson(follow(second.version));
    // All of it is there before anything restarts.
    await node.sh('systemctl stop registry.service');
    expect(await node.restart()).toBe(1);
    await expectServes(node, second.version, 'second');

    await node.ingotJson('node rollback');
    expect(await node.restart()).toBe(1);
    await expectServes(node, first.version, 'first');

    // It starts, and has nothing to answer with.
    const third = await build({ 'www/other': 'third\n' }, 'third\n', '5s');
    await reachRegistry(node);
    await node.ingotJson(follow(third.version));
    expect(await node.restart()).toBe(2);
    await expectServes(node, first.version, 'first');
    expect((await node.status()).updates[0]).toMatchObject({
      version: third.version,
      outcome: 'settled',
      reason: expect.stringContaining('web-answers') as string,
    });
    await node.vm.powerOff({ timeoutMs: 180_000 });
  },
);

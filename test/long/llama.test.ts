/**
 * A model server on a node: `images/debian-cpu-llama.yaml` with an agent serves a completion from a model that is made
 * here, and goes back by itself from an update whose server cannot start. Two machines' worth of emulation. Needs root.
 */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { ensureTestDisk } from '../../src/disk/test-disk.ts';
import { settle, type Settled, stageImage } from '../../src/disk/upgrade/node-client.ts';
import { ATTACH_OFFER, makeOfferDisk, OFFER_REFERENCE } from '../../src/disk/upgrade/offer-disk.ts';
import { Vm } from '../../src/disk/vm/machine.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { installableImage } from '../../src/ostree/import-image.ts';
import { run } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import { buildDeclared, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, type NextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';
import { makeTinyModel } from '../support/tiny-model.ts';

const MODEL = 'usr/share/models/tiny.gguf';
const COMPLETION = `curl --fail --silent --max-time 100 --data '{"prompt":"abc","n_predict":4}' http://127.0.0.1:8080/completion`;
/** A start, with its checks: a minute where nothing else runs. */
const START_MS = 900_000;
/** The first, one without the kernel, three that the boot loader counts, and the one that goes back. */
const TEST_MS = 6 * START_MS;

const DECLARATION = `
name: llama-node
extends: ${join(PRODUCT_ROOT, 'images/debian-cpu-llama.yaml')}
base: debian@sid
agent: true
packages: [curl]
units:
  - name: tiny.service
    enabled: true
    content: |
      [Service]
      DynamicUser=yes
      ExecStart=/usr/bin/llama-server --host 127.0.0.1 --port 8080 --model /${MODEL} --threads 1 --ctx-size 128
      [Install]
      WantedBy=multi-user.target
health:
  - name: model-answers
    run: ${COMPLETION}
    timeout: 120s
`;

let scratch: string;
let base: BuiltImage;
let good: NextImage;
let broken: NextImage;

beforeAll(async () => {
  base = await buildDeclared('llama-node', DECLARATION);
  scratch = await mkdtemp(join(TEST_FOLDER, 'llama-'));
  const layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  const withModel = (name: string, files: Readonly<Record<string, string | Buffer>>): Promise<NextImage> =>
    addNextImage(layout, base.version, scratch, {
      name,
      fill: async (tree) => {
        await chmod(tree, 0o755);
        await writeTree(tree, files);
      },
    });
  const model = makeTinyModel();
  good = await withModel('20991231.1', { [MODEL]: model });
  broken = await withModel('20991231.2', {
    // All of its description, and half of its weights.
    [MODEL]: model.subarray(0, model.length >> 1),
    // The declared check alone, with a limit for four starts that wait in vain; an emulated node allows ten times that.
    'usr/lib/ingot/health.json': JSON.stringify([
      { name: 'model-answers', run: COMPLETION, timeoutSeconds: 3 },
    ]),
  });
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

test(
  'a node serves a completion, and goes back from an update whose server cannot start',
  { timeout: TEST_MS },
  async () => {
    const { store, toolsRoot } = await testTools(base);
    const layout = join(scratch, 'layout');
    const resolve = ({ name }: NextImage): ReturnType<typeof resolveImage> =>
      resolveImage({ directory: layout, name });
    const image = installableImage(await resolve(good));
    await using _inUse = await store.use();
    const disk = await ensureTestDisk({ image, store, toolsRoot, reporter: silentReporter });
    const work = join(scratch, 'machine');
    const offer = join(scratch, 'offer');
    for (const folder of [work, offer]) await mkdir(folder);
    const extraDisks = [await makeOfferDisk(await resolve(broken), offer, toolsRoot)];
    const consoleFile = join(TEST_FOLDER, 'llama-console.log');
    await using vm = await Vm.start({
      disk,
      toolsRoot,
      scratch: work,
      extraDisks,
      memoryMiB: 1536,
      consoleFile,
    });

    const expectToServe = async ({ status }: Settled): Promise<void> => {
      expect(status).toMatchObject({
        booted: { digest: good.digest },
        boot: { blessed: true },
        gate: { healthy: true },
      });
      const { stdout, exitCode } = await vm.exec(COMPLETION, { timeoutMs: 120_000 });
      expect(exitCode).toBe(0);
      const answer = JSON.parse(stdout) as { content: string; tokens_predicted: number };
      expect(answer.tokens_predicted).toBe(4);
      expect(answer.content.length).toBeGreaterThan(0);
    };
    const first = await settle(vm, undefined, 2 * START_MS);
    await expectToServe(first);

    expect((await vm.exec(ATTACH_OFFER, { timeoutMs: 60_000 })).exitCode).toBe(0);
    const staged = await stageImage(vm, OFFER_REFERENCE, START_MS);
    expect(staged).toMatchObject({ done: 'staged', pulled: { layers: 1, bytes: broken.layer.size } });
    expect(staged.restart).toMatchObject({ kind: 'soft' });
    await vm.exec('ingot node upgrade --apply', { timeoutMs: START_MS }).catch(() => undefined);
    const back = await settle(vm, first.boot, 5 * START_MS);
    await expectToServe(back);
    expect(back.starts).toBeGreaterThan(2);
    expect(back.status.updates[0]).toMatchObject({
      version: broken.name,
      outcome: 'settled',
      reason: expect.stringContaining('model-answers') as string,
    });
    // It is not taken again.
    await vm.exec(ATTACH_OFFER, { timeoutMs: 60_000 });
    await expect(stageImage(vm, OFFER_REFERENCE, START_MS)).rejects.toMatchObject({
      output: expect.stringContaining('UPDATE_REFUSED') as string,
    });
    await vm.powerOff({ timeoutMs: 300_000 });
  },
);

/** `ingot test`: boots an image or a disk in a virtual machine and says whether the node is healthy. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { resolve } from 'node:path';

import { testBoot } from '../../disk/boot-test.ts';
import { installableImage, type InstallableImage } from '../../ostree/import-image.ts';
import { ensureTestDisk } from '../../disk/test-disk.ts';
import { BOUND_ANNOTATION } from '../../plan/bound.ts';
import { requireWritableFolder } from '../../proc/writable-place.ts';
import type { Store } from '../../store/store.ts';
import type { Accelerator } from '../../tools/qemu.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { isDisk, prepareDisk, type PreparedDisk } from '../prepare-disk.ts';
import { prepareImage } from '../prepare-image.ts';
import { renderBootTest } from '../render-boot-test.ts';
import { parseSize } from '../size.ts';
import { testUpgradePath } from '../test-upgrade.ts';
import { useStore } from '../use-store.ts';

export interface TestOptions {
  readonly from?: string;
  readonly timeout: number;
  readonly memory: number;
  readonly accelerator?: Accelerator;
  readonly keep?: string;
  readonly variant?: string;
  readonly lock?: string;
}

const MIB = 1024 ** 2;

export function testCommand(bind: Bind): Command {
  return new Command('test')
    .description(
      'Boot an image or a disk in a virtual machine, run its health checks, and say how the node is.',
    )
    .argument('<image>', 'oci:DIRECTORY[:NAME], a declaration, or a disk file, which is not changed')
    .option('--from <image>', 'prove the way of a node that runs this image to the other one, and back')
    .addOption(
      new Option('--timeout <seconds>', 'how long starting may take')
        .argParser(parseSeconds)
        .default(600, '600'),
    )
    .addOption(
      new Option('--memory <size>', 'memory of the machine').argParser(parseSize).default(1024 * MIB, '1GiB'),
    )
    .addOption(
      new Option('--accelerator <name>', 'kvm, or tcg for emulation (default: kvm where it works)').choices([
        'kvm',
        'tcg',
      ]),
    )
    .option('--keep <dir>', 'leave the console log and the machine’s changes to the disk in this folder')
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'the lock of a declaration; else the lock whose tools boot it')
    .addHelpText(
      'after',
      `
Exit code 1 when the machine does not come up, or comes up and is not healthy. Health is: systemd says "running",
no unit failed, the system is read-only, and every check of the image passes. Emulated machines get ten times the
checks' time limits.

With --from, the older image is booted and its /etc and /var are edited; it is updated to the other, which must pass its
checks and have the edits; rolled back, and updated again. Both need an agent (\`agent: true\`). Nothing is published
for it, and no network is used. Exit code 1 when anything of that does not go well.

Examples:
  ingot test oci:build/debian-minimal
  ingot test node.raw --memory 2GiB --keep /tmp/node-test
  ingot test images/debian-minimal.yaml --json | jq .verdict
  ingot test oci:build/debian-agent --from oci:build/debian-agent:20261122.1
`,
    )
    .action(bind(test));
}

async function test(context: CommandContext, argument: string, options: TestOptions): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  if (options.from !== undefined) {
    return await testUpgradePath(context, argument, { ...options, from: options.from });
  }
  const keep = options.keep === undefined ? undefined : resolve(cwd, options.keep);
  if (keep !== undefined) await requireWritableFolder(keep);
  await using inUse = await useStore(context);
  const { store } = inUse;
  const subject: Subject = (await isDisk(context, argument))
    ? await prepareDisk(context, store, argument, options.lock)
    : await installImage(context, store, argument, options);
  await using scratch = await store.scratch('boot-test');
  const result = await testBoot({
    disk: subject.path,
    toolsRoot: subject.toolsRoot,
    workFolder: keep ?? scratch.path,
    timeoutMs: options.timeout * 1000,
    memoryMiB: Math.ceil(options.memory / MIB),
    accelerator: options.accelerator,
    reporter,
    signal,
  });
  const { image } = subject;
  return {
    json: {
      verdict: result.healthy ? 'healthy' : 'unhealthy',
      ...(!result.healthy && { code: 'HEALTH_FAILED' }),
      complaints: result.complaints,
      ...(image !== undefined && {
        image: { name: image.name, version: image.version, digest: image.digest },
      }),
      disk: subject.path,
      accelerator: result.accelerator,
      stages: result.stages,
      seconds: result.seconds,
      node: result.report,
      checks: result.checks,
      ...(result.console !== '' && { console: result.console }),
    },
    text: renderBootTest(image === undefined ? argument : `${image.name} ${image.version}`, result),
    exitCode: result.healthy ? 0 : 1,
  };
}

interface Subject extends PreparedDisk {
  /** What the disk was made from, when that was the argument. */
  readonly image?: InstallableImage;
}

async function installImage(
  context: CommandContext,
  store: Store,
  argument: string,
  options: TestOptions,
): Promise<Subject> {
  const { reporter, signal } = context;
  const prepared = await prepareImage(context, store, argument, options);
  const { toolsRoot } = prepared;
  const image = installableImage(prepared.image);
  if (image.manifest.annotations?.[BOUND_ANNOTATION] !== undefined) {
    reporter.warning(
      'the machine has no network to pull the containers and models of the image: test a disk of `ingot disk --bound`',
    );
  }
  return { image, toolsRoot, path: await ensureTestDisk({ image, store, toolsRoot, reporter, signal }) };
}

function parseSeconds(text: string): number {
  const seconds = Number(/^(\d+)s?$/.exec(text)?.[1]);
  if (!(seconds > 0)) throw new InvalidArgumentError('Give whole seconds, such as 600.');
  return seconds;
}

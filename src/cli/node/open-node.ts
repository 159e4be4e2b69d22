/** The machine that a command runs on, as a node. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

import { IngotError } from '../../errors.ts';
import type { Deployment, Engine } from '../../node/engine.ts';
import { BoundStore } from '../../node/bound/bound-store.ts';
import { ContainerStore } from '../../node/bound/container-store.ts';
import { ModelStore } from '../../node/bound/model-store.ts';
import { BootcEngine, isBootcHost } from '../../node/bootc-engine.ts';
import { HostTools } from '../../node/host-tools.ts';
import { findGpus } from '../../node/host-gpus.ts';
import { Journal } from '../../node/journal.ts';
import { OstreeEngine } from '../../node/ostree-engine.ts';
import type { NodeContext } from '../../node/update.ts';
import { acquireFileLock, type FileLock } from '../../proc/file-lock.ts';
import { findProgram } from '../../proc/find-program.ts';
import { UnattendedUpdates, UPDATE_PATH } from '../../spec/update-schema.ts';
import { Store } from '../../store/store.ts';
import { bootcStatusArgv, parseBootcStatus } from '../../tools/bootc.ts';
import type { CommandContext } from '../context.ts';
import { readIfThere } from './read-if-there.ts';
import { loadTrustPolicy } from '../trust-file.ts';

/** What of Ingot's own outlives an update. */
export const STATE_FOLDER = '/var/lib/ingot';
const LOCK_FILE = '/run/ingot/node.lock';
/** What the image brought: where its next one comes from, and whose signature that must have. */
const POLICY_FILE = '/usr/lib/ingot/trust/trust.yaml';

/** ostree makes it in the initramfs of a system that it started. */
const BOOTED_MARK = '/run/ostree-booted';

const UpdateFile = z.object({ source: z.string(), unattended: UnattendedUpdates.optional() });

/** What Node.js calls processors, as OCI does. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * @throws IngotError NODE_UNSUITED on a machine that does not run from an image; FindingsError TRUST_INVALID for a
 *   policy in the image that cannot be read
 */
export async function openNode(context: CommandContext): Promise<NodeContext> {
  const { reporter, signal, now } = context;
  const engine = await chooseEngine(context);
  const hasPolicy = (await readIfThere(POLICY_FILE)) !== undefined;
  const policy = hasPolicy ? await loadTrustPolicy(POLICY_FILE, '/') : undefined;
  return {
    engine,
    bound: new BoundStore({
      containers: engine.name === 'bootc' ? undefined : new ContainerStore({ openStore, signal }),
      models: new ModelStore(),
      policy,
      reporter,
      signal,
    }),
    journal: new Journal(join(STATE_FOLDER, 'journal.jsonl'), now),
    policy,
    gpus: await findGpus(),
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    reporter,
    signal,
  };
}

/**
 * bootc where it is installed and the running system is its own: it would not know what was done behind its back.
 *
 * @throws IngotError NODE_UNSUITED
 */
async function chooseEngine({ now, signal }: CommandContext): Promise<Engine> {
  const tools = new HostTools(signal);
  if ((await findProgram('bootc')) !== undefined) {
    const { stdout } = await tools.run(bootcStatusArgv);
    if (isBootcHost(parseBootcStatus(stdout))) return new BootcEngine({ tools });
  }
  await requireImage();
  return new OstreeEngine({ openStore, now, signal });
}

/** For blobs on their way. */
function openStore(): Promise<Store> {
  return Store.open(join(STATE_FOLDER, 'store'));
}

async function requireImage(): Promise<void> {
  if ((await stat(BOOTED_MARK).catch(() => undefined)) === undefined) {
    throw new IngotError('NODE_UNSUITED', 'this machine does not run from an image', {
      hint: '`ingot node` is for nodes that were installed from one: `ingot disk` makes their disks',
    });
  }
  if ((await findProgram('ostree')) === undefined) {
    throw new IngotError(
      'NODE_UNSUITED',
      'this machine runs from an image, and has no ostree to update it with',
      {
        hint: 'if this is a container, run the command on the node itself',
      },
    );
  }
}

/** @throws IngotError NOT_ROOT */
export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new IngotError('NOT_ROOT', 'only root can change the node’s system', {
    hint: 'run the same command as root, for example with sudo',
  });
}

/**
 * Keeps two updates of one node apart. Vanishes with the process.
 *
 * @param wait until the other one is done, instead of NODE_BUSY
 * @throws IngotError NOT_ROOT, NODE_BUSY
 */
export async function lockNode({ signal }: CommandContext, wait = false): Promise<FileLock> {
  requireRoot();
  try {
    return await acquireFileLock(LOCK_FILE, { signal, wait });
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
    throw new IngotError('NODE_BUSY', 'another command is changing this node’s system', {
      hint: 'wait until it is done: `ingot node status` shows what came of it',
      cause: error,
    });
  }
}

/**
 * What this node follows: what it was told last, or what its image says.
 *
 * @throws IngotError NOT_FOUND when nobody said
 */
export async function followedReference(engine: Engine): Promise<string> {
  const deployments = await engine.deployments();
  const reference = followedOf(deployments) ?? (await updateOfImage())?.source;
  if (
    reference !== undefined &&
    /^(?:containers-storage|docker-daemon|docker-archive|dir):/.test(reference)
  ) {
    throw new IngotError('NODE_UNSUITED', `this node follows ${reference}, where Ingot reads no images`, {
      hint: '`bootc upgrade` does; `ingot node switch HOST/PATH:TAG` follows a name in a registry',
    });
  }
  if (reference !== undefined) return reference;
  throw new IngotError('NOT_FOUND', 'nothing says where this node’s next image comes from', {
    hint: 'say it once with `ingot node switch HOST/PATH:TAG`; `update.source` of a declaration says it in the image',
  });
}

/** A staged update may follow another name than what runs, and be the first that follows any. */
export function followedOf(deployments: readonly Deployment[]): string | undefined {
  const staged = deployments.find(({ isStaged }) => isStaged);
  const told = staged ?? deployments.find(({ isBooted }) => isBooted);
  return told?.reference ?? deployments[0]?.reference;
}

/** What the running image says about its updates. @throws IngotError NODE_FAILED when it cannot be read */
export async function updateOfImage(): Promise<z.infer<typeof UpdateFile> | undefined> {
  const text = await readIfThere(UPDATE_PATH);
  if (text === undefined) return undefined;
  try {
    return UpdateFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new IngotError('NODE_FAILED', `${UPDATE_PATH} of the running image cannot be read`, { cause });
  }
}

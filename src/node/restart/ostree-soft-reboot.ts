/**
 * Soft reboots into deployments of ostree. What ostree does when the machine goes down (merge /etc, write boot entries
 * and menu) is done beforehand: the next root is made of a deployment that is final. A power loss on the way therefore
 * starts the new deployment, and counts that start, as after any other update. What is written to /etc between the merge
 * and the restart stays behind.
 */
import { lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { rebootFor, type Reboot } from '../../compare/reboot.ts';
import type { ImageSummary } from '../../compare/image-summary.ts';
import { IngotError } from '../../errors.ts';
import { readCommitMetadata } from '../../ostree/commit-metadata.ts';
import { parseSystemdVersion } from '../../tools/systemctl.ts';
import type { Deployment, SoftReboot } from '../engine.ts';
import type { NodeTools } from '../host-tools.ts';
import { compareBootFiles } from './boot-files.ts';
import { moveBootedMark } from './booted-mark.ts';
import { mountNextRoot } from './next-root.ts';

const BOOTED_MARK = '/run/ostree-booted';
/** GRUB does not count this start, so the units that end a bad one go by this, and not by the kernel's command line. */
export const TRIAL_MARK = '/run/ingot/on-trial';
/** Says that what ran before is good, and /run stays. */
const BLESSED_MARK = '/run/ingot/blessed';
/** The first whose manual has soft reboots. */
const FIRST_SYSTEMD = 254;
/** In the mark of a root that is a composefs. */
const COMPOSEFS_KEY = Buffer.from('composefs\0');

export interface OstreeSoftRebootOptions {
  readonly sysroot: string;
  readonly tools: NodeTools;
  readonly deployments: () => Promise<readonly Deployment[]>;
  /** A deployment's own, below `sysroot`. */
  readonly folderOf: (id: string) => Promise<string>;
}

export class OstreeSoftReboot implements SoftReboot {
  readonly #options: OstreeSoftRebootOptions;

  constructor(options: OstreeSoftRebootOptions) {
    this.#options = options;
  }

  get #repo(): string {
    return join(this.#options.sysroot, 'ostree/repo');
  }

  async obstacles(): Promise<readonly string[]> {
    const { tools } = this.#options;
    const version = parseSystemdVersion((await tools.run(['systemctl', '--version'])).stdout);
    const obstacles: string[] = [];
    if (version === undefined || version < FIRST_SYSTEMD) {
      obstacles.push(`systemd ${version ?? 'of unknown version'} has no soft reboot`);
    }
    return obstacles;
  }

  async judge(to: Deployment): Promise<Reboot> {
    const booted = (await this.#options.deployments()).find(({ isBooted }) => isBooted);
    if (booted === undefined || booted.id === to.id) return { kind: 'none', reasons: [] };
    const [before, after, bootFiles] = await Promise.all([
      this.#summarise(booted),
      this.#summarise(to),
      compareBootFiles(this.#repo, commitOf(booted.id), commitOf(to.id)),
    ]);
    return rebootFor(before, after, bootFiles, false);
  }

  async start(to: Deployment): Promise<void> {
    const { tools, sysroot, folderOf } = this.#options;
    const booted = (await this.#options.deployments()).find(({ isBooted }) => isBooted);
    if (booted === undefined) throw new IngotError('NODE_FAILED', 'no deployment is the running system');
    if (to.isStaged) await tools.run(['ostree', 'admin', 'finalize-staged']);
    const [first] = await this.#options.deployments();
    if (first?.id !== to.id || first.isStaged) {
      throw new IngotError('NODE_FAILED', `ostree did not put the deployment ${to.id} first`, {
        hint: '`ingot node status` shows what starts next, and `systemctl reboot` starts it',
      });
    }
    const folder = await folderOf(to.id);
    const [from, next, mark] = await Promise.all([
      lstat(await folderOf(booted.id), { bigint: true }),
      lstat(folder, { bigint: true }),
      readFile(BOOTED_MARK),
    ]);
    const moved = moveBootedMark(mark, from, next);
    const isComposefs = mark.includes(COMPOSEFS_KEY);
    await using root = await mountNextRoot({ folder, sysroot, isComposefs }, tools);
    const blessed = await readFile(BLESSED_MARK).catch(() => undefined);
    try {
      await writeFile(BOOTED_MARK, moved);
      await mkdir(dirname(TRIAL_MARK), { recursive: true });
      await writeFile(TRIAL_MARK, '');
      await rm(BLESSED_MARK, { force: true });
      await tools.run(['systemctl', 'soft-reboot', '--check-inhibitors=yes']);
    } catch (error) {
      await writeFile(BOOTED_MARK, mark);
      await rm(TRIAL_MARK, { force: true });
      if (blessed !== undefined) await writeFile(BLESSED_MARK, blessed);
      throw error;
    }
    root.keep();
  }

  async #summarise({ id, version, facts }: Deployment): Promise<ImageSummary> {
    const { kernelArguments } = await readCommitMetadata(this.#repo, commitOf(id));
    return { kind: 'image', shown: id, version, facts, kernelArguments };
  }
}

/** Of a deployment's id, `COMMIT.SERIAL`. */
function commitOf(id: string): string {
  return id.replace(/\.\d+$/, '');
}

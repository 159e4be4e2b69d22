/** ostree as it runs on a node, and what it said last of the deployments there. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { RunResult } from '../proc/run.ts';
import { type OstreeDeployment, parseOstreeStatus } from '../tools/ostree.ts';
import type { NodeTools } from './host-tools.ts';

export interface OstreeSysrootOptions {
  readonly tools: NodeTools;
  /** Default: /sysroot. */
  readonly sysroot?: string;
  /** What ostree writes as it stages a deployment. Default: /run/ostree/staged-deployment. */
  readonly stagedFile?: string;
}

interface Answer {
  readonly deployments: Promise<readonly OstreeDeployment[]>;
  /** What `#state` was before it was asked for. */
  readonly state: string;
}

/**
 * Every step of an update asks for the deployments, and ostree takes longer to answer than the step to use the answer.
 * One serves until the deployments have changed: by a command of ours, or by whatever else, which shows as it does to
 * libostree itself (`ostree_sysroot_load_if_changed`). Pins alone do not, if others set them.
 */
export class OstreeSysroot implements NodeTools {
  readonly #tools: NodeTools;
  readonly #watched: readonly string[];
  #answer: Answer | undefined;

  constructor({ tools, sysroot = '/sysroot', stagedFile }: OstreeSysrootOptions) {
    this.#tools = tools;
    this.#watched = [join(sysroot, 'ostree/deploy'), stagedFile ?? '/run/ostree/staged-deployment'];
  }

  get signal(): AbortSignal | undefined {
    return this.#tools.signal;
  }

  readonly run: NodeTools['run'] = async (...command): Promise<RunResult> => {
    try {
      return await this.#tools.run(...command);
    } finally {
      if (command[0][1] === 'admin') this.#answer = undefined;
    }
  };

  /** In the order in which they start. @throws IngotError as the tools do */
  async deployments(): Promise<readonly OstreeDeployment[]> {
    const state = await this.#state();
    if (this.#answer?.state !== state) this.#answer = { state, deployments: this.#ask() };
    return await this.#answer.deployments;
  }

  /** The same, asked at this moment: for commands that name a deployment by its place. */
  async deploymentsNow(): Promise<readonly OstreeDeployment[]> {
    this.#answer = undefined;
    return await this.deployments();
  }

  async #ask(): Promise<readonly OstreeDeployment[]> {
    try {
      return parseOstreeStatus((await this.#tools.run(['ostree', 'admin', 'status'])).stdout);
    } catch (error) {
      this.#answer = undefined;
      throw error;
    }
  }

  /** ostree sets the time of its folder whenever it has written deployments. */
  async #state(): Promise<string> {
    const seen = await Promise.all(
      this.#watched.map(async (path) => {
        const stats = await stat(path, { bigint: true }).catch(() => undefined);
        return stats === undefined ? 'none' : `${stats.ino}:${stats.mtimeNs}`;
      }),
    );
    return seen.join(' ');
  }
}

/** ostree as it runs on a node, and what it said last of the deployments there. */
import type { RunResult } from '../proc/run.ts';
import { type OstreeDeployment, parseOstreeStatus } from '../tools/ostree.ts';
import type { NodeTools } from './host-tools.ts';

/**
 * Every step of an update asks for the deployments, and ostree takes longer to answer than the step to use the answer.
 * One serves until a command of ours has run that may change it: whoever runs such commands holds the node's lock.
 */
export class OstreeSysroot implements NodeTools {
  readonly #tools: NodeTools;
  #deployments: Promise<readonly OstreeDeployment[]> | undefined;

  constructor(tools: NodeTools) {
    this.#tools = tools;
  }

  get signal(): AbortSignal | undefined {
    return this.#tools.signal;
  }

  readonly run: NodeTools['run'] = async (...command): Promise<RunResult> => {
    try {
      return await this.#tools.run(...command);
    } finally {
      if (command[0][1] === 'admin') this.#deployments = undefined;
    }
  };

  /** In the order in which they start. @throws IngotError as the tools do */
  async deployments(): Promise<readonly OstreeDeployment[]> {
    return await (this.#deployments ?? this.deploymentsNow());
  }

  /** The same, asked at this moment: for commands that name a deployment by its place, which others may change too. */
  async deploymentsNow(): Promise<readonly OstreeDeployment[]> {
    const asked = this.#tools
      .run(['ostree', 'admin', 'status'])
      .then(({ stdout }) => parseOstreeStatus(stdout));
    this.#deployments = asked;
    try {
      return await asked;
    } catch (error) {
      this.#deployments = undefined;
      throw error;
    }
  }
}

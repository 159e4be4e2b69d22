/** Where a command of `ingot node` runs: here, on the machine of `--host`, or here for an Ingot elsewhere. */
import { Command } from 'commander';
import { resolve } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { Bind } from '../context.ts';
import { answerPeer } from './peer.ts';
import { runOnHost } from './remote-node.ts';

interface NodeOptions {
  readonly host?: string;
  readonly sshConfig?: string;
  readonly peer?: string;
}

/** @param node the command whose options say where */
export function bindToHost(node: Command, bind: Bind): Bind {
  return (handler) =>
    bind(async (context, ...args) => {
      const { host, sshConfig, peer } = node.opts<NodeOptions>();
      if (sshConfig !== undefined && host === undefined) {
        throw new IngotError('USAGE', '--ssh-config belongs to --host');
      }
      if (host !== undefined) {
        // commander hands the command itself over, last.
        const command = (args as readonly unknown[]).at(-1);
        if (!(command instanceof Command)) throw new TypeError('a handler without its command');
        const options = {
          host,
          sshConfig: sshConfig === undefined ? undefined : resolve(context.cwd, sshConfig),
        };
        return runOnHost(context, options, wordsOf(command));
      }
      if (peer === undefined) return handler(context, ...args);
      return answerPeer(context, peer, process.stdin, (inner) => handler(inner, ...args));
    });
}

/** The command line that gave a command its options and arguments, without those of the commands above it. */
export function wordsOf(command: Command): readonly string[] {
  const options = command.options.flatMap((option) => {
    const name = option.attributeName();
    if (option.long === undefined || command.getOptionValueSource(name) !== 'cli') return [];
    const value: unknown = command.getOptionValue(name);
    if (typeof value === 'boolean') return value === option.negate ? [] : [option.long];
    return (Array.isArray(value) ? value : [value]).map((one) => `${option.long ?? ''}=${String(one)}`);
  });
  const { args } = command;
  return [command.name(), ...options, ...(args.length === 0 ? [] : ['--', ...args])];
}

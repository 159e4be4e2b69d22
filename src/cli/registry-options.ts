/** Options of every command that talks to registries. */
import type { Command } from 'commander';
import { resolve } from 'node:path';

import type { RegistryAccess } from '../oci/registry/access.ts';
import type { CommandContext } from './context.ts';

export interface RegistryOptions {
  readonly ca?: readonly string[];
  readonly insecure?: readonly string[];
}

export function addRegistryOptions(command: Command): Command {
  return command
    .option('--ca <file>', 'trust the certificates in this file too (repeatable)', collect)
    .option(
      '--insecure <host>',
      'speak plain HTTP with this registry, HOST or HOST:PORT (repeatable)',
      collect,
    );
}

export async function openRegistries(
  { env, cwd, reporter }: CommandContext,
  { ca = [], insecure = [] }: RegistryOptions,
): Promise<RegistryAccess> {
  // With it comes Node's HTTP, a tenth of the time to start.
  const { RegistryAccess } = await import('../oci/registry/access.ts');
  return RegistryAccess.open({ env, reporter, insecure, ca: ca.map((file) => resolve(cwd, file)) });
}

export interface LazyRegistries extends AsyncDisposable {
  readonly open: () => Promise<RegistryAccess>;
}

/** Opened by the first who asks: most work needs no registry. */
export function lazyRegistries(context: CommandContext, options: RegistryOptions): LazyRegistries {
  let opened: Promise<RegistryAccess> | undefined;
  return {
    open: () => (opened ??= openRegistries(context, options)),
    [Symbol.asyncDispose]: async () => {
      const access = await opened?.catch(() => undefined);
      await access?.[Symbol.asyncDispose]();
    },
  };
}

/** For options that may be given more than once. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Every command, one line each, in the order of the help. A module loads when its command is used. */
import type { Command } from 'commander';

import type { Bind } from './context.ts';

/** By name. */
export type Commands = ReadonlyMap<string, () => Promise<(bind: Bind) => Command>>;

// prettier-ignore
export const COMMANDS: Commands = new Map<string, () => Promise<(bind: Bind) => Command>>([
  ['quickstart', async () => (await import('./commands/quickstart.ts')).quickstartCommand],
  ['validate', async () => (await import('./commands/validate.ts')).validateCommand],
  ['catalog', async () => (await import('./commands/catalog.ts')).catalogCommand],
  ['explain', async () => (await import('./commands/explain.ts')).explainCommand],
  ['schema', async () => (await import('./commands/schema.ts')).schemaCommand],
  ['lock', async () => (await import('./commands/lock.ts')).lockCommand],
  ['plan', async () => (await import('./commands/plan.ts')).planCommand],
  ['build', async () => (await import('./commands/build.ts')).buildCommand],
  ['diff', async () => (await import('./commands/diff.ts')).diffCommand],
  ['push', async () => (await import('./commands/push.ts')).pushCommand],
  ['pull', async () => (await import('./commands/pull.ts')).pullCommand],
  ['copy', async () => (await import('./commands/copy.ts')).copyCommand],
  ['index', async () => (await import('./commands/image-index.ts')).imageIndexCommand],
  ['sign', async () => (await import('./commands/sign.ts')).signCommand],
  ['verify', async () => (await import('./commands/verify.ts')).verifyCommand],
  ['key', async () => (await import('./commands/key.ts')).keyCommand],
  ['inspect', async () => (await import('./commands/inspect.ts')).inspectCommand],
  ['sbom', async () => (await import('./commands/sbom.ts')).sbomCommand],
  ['audit', async () => (await import('./commands/audit.ts')).auditCommand],
  ['disk', async () => (await import('./commands/disk.ts')).diskCommand],
  ['test', async () => (await import('./commands/test.ts')).testCommand],
  ['node', async () => (await import('./commands/node.ts')).nodeCommand],
  ['store', async () => (await import('./commands/store.ts')).storeCommand],
  ['doctor', async () => (await import('./commands/doctor.ts')).doctorCommand],
  ['completion', async () => (await import('./commands/completion.ts')).completionCommand],
]);

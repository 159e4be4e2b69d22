/** `ingot key`: the keys that images are signed with. */
import { Command } from 'commander';
import { randomBytes, randomUUID } from 'node:crypto';
import { link, rm, stat, writeFile } from 'node:fs/promises';
import { relative, resolve } from 'node:path';

import { errnoOf, IngotError } from '../../errors.ts';
import { makeKeyPair } from '../../trust/private-key.ts';
import { type PublicKey, parsePublicKey, renderPublicKey } from '../../trust/public-key.ts';
import { askPassword, canAsk, givenPassword, type PasswordFlags } from '../ask-password.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { openPrivateKey, readKeyFile } from '../signing-key.ts';

type KeyFlags = PasswordFlags;

const PASSWORD_FD = 'read the password from this open file descriptor (default: COSIGN_PASSWORD)';

const PASSWORD_FILE = 'read it from this file; on a terminal it is asked for';

export function keyCommand(bind: Bind): Command {
  const command = new Command('key')
    .description('Make and show the keys that images are signed with.')
    .addHelpText(
      'after',
      `
Examples:
  COSIGN_PASSWORD=… ingot key new keys/node
  ingot key show keys/node.pub
`,
    );
  command
    .command('new')
    .description('Make a key pair: NAME.key, under a password, and NAME.pub. Nothing is overwritten.')
    .argument('[name]', 'path and name, without the ending', 'cosign')
    .option('--password-fd <n>', PASSWORD_FD)
    .option('--password-file <file>', PASSWORD_FILE)
    .addHelpText(
      'after',
      `
Examples:
  ingot key new --password-fd 3 3<password
  COSIGN_PASSWORD=… ingot key new keys/node

cosign reads both files.
`,
    )
    .action(bind(newKey));
  command
    .command('show')
    .description('Show the fingerprint of a key, public or private, and its public half.')
    .argument('<file>', 'such as cosign.pub or cosign.key')
    .option('--password-fd <n>', PASSWORD_FD)
    .option('--password-file <file>', PASSWORD_FILE)
    .addHelpText(
      'after',
      `
Examples:
  ingot key show cosign.pub
  ingot key show cosign.key --password-fd 3 3<password
`,
    )
    .action(bind(showKey));
  return command;
}

async function newKey(context: CommandContext, name: string, flags: KeyFlags): Promise<CommandResult> {
  const { cwd } = context;
  const given = await givenPassword(context, flags);
  const password = given ?? (canAsk() ? await askTwice(context) : undefined);
  if (password === undefined) {
    throw new IngotError('USAGE', 'a new key is kept under a password', {
      hint: 'set COSIGN_PASSWORD, or give it through a descriptor: --password-fd 3 3<FILE',
    });
  }
  const path = resolve(cwd, name);
  const [keyFile, publicFile] = [`${path}.key`, `${path}.pub`];
  for (const file of [keyFile, publicFile]) {
    if ((await stat(file).catch(() => undefined)) !== undefined) throw exists(relative(cwd, file));
  }
  const pair = makeKeyPair(password, randomBytes);
  await writeNew(keyFile, pair.privateKey, 0o600);
  await writeNew(publicFile, pair.publicKey, 0o644);
  const key = parsePublicKey(pair.publicKey, publicFile);
  return {
    json: { key: relative(cwd, keyFile), publicKey: relative(cwd, publicFile), fingerprint: key.fingerprint },
    text: [
      `${relative(cwd, keyFile)}, for who signs`,
      `${relative(cwd, publicFile)}, for who verifies`,
      key.fingerprint,
    ].join('\n'),
  };
}

async function askTwice({ signal }: CommandContext): Promise<string> {
  const password = await askPassword('Password of the new key: ', signal);
  if ((await askPassword('Once more: ', signal)) === password) return password;
  throw new IngotError('USAGE', 'the two passwords differ', { hint: 'nothing was written: try again' });
}

async function showKey(context: CommandContext, file: string, flags: KeyFlags): Promise<CommandResult> {
  const key = await openKey(context, file, flags);
  const pem = renderPublicKey(key);
  return {
    json: { fingerprint: key.fingerprint, publicKey: pem },
    text: `${key.fingerprint}\n${pem.trimEnd()}`,
  };
}

async function openKey(context: CommandContext, file: string, flags: KeyFlags): Promise<PublicKey> {
  const bytes = await readKeyFile(resolve(context.cwd, file), file);
  const isPrivate = bytes.includes('PRIVATE KEY');
  if (!isPrivate) return parsePublicKey(bytes.toString(), file);
  bytes.fill(0);
  return (await openPrivateKey(context, { ...flags, key: file })).publicKey;
}

/** Whole or not at all, and never in the place of another: a link fails where there is something. */
async function writeNew(path: string, content: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, content, { mode, flag: 'wx', flush: true });
    await link(temporary, path);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw exists(path);
    throw new IngotError('USAGE', `${path} cannot be written (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  } finally {
    await rm(temporary, { force: true });
  }
}

function exists(shown: string): IngotError {
  return new IngotError('USAGE', `${shown} exists`, {
    hint: 'a key that is lost cannot be had again: give another name, or move it away first',
  });
}

/** A command of `ingot node` on another machine: `--host ssh://…`. */
import { Readable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import * as z from 'zod';

import { type ErrorCode, exitCodeOf, IngotError } from '../../errors.ts';
import { run, type RunResult } from '../../proc/run.ts';
import type { ReportEvent } from '../../report/events.ts';
import { printableName } from '../../report/printable.ts';
import {
  COMMAND_UNKNOWN,
  parseSshUrl,
  quoteForRemoteShell,
  SSH_FAILED,
  sshArgv,
  sshFailure,
} from '../../tools/ssh.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { PEER_OPTION, PEER_PROTOCOL, PeerEnvelope } from './peer.ts';

export interface RemoteOptions {
  /** `ssh://[user@]host[:port]`. */
  readonly host: string;
  /** ssh_config(5), in the place of the user's own. */
  readonly sshConfig?: string | undefined;
}

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
/** What the other side gets to clean up in. */
const GRACE_MS = 20_000;
/** Of our own environment, what ssh and what it starts ask for. */
const PASSED_ON = ['HOME', 'USER', 'LOGNAME', 'PATH', 'SSH_AUTH_SOCK', 'KRB5CCNAME', 'XDG_RUNTIME_DIR'];

const text = z.string().transform(printableName);
/** The events of src/report/events.ts; the other machine's word for them is not taken. */
const RemoteEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('stage-start'), id: text, title: text, parent: text.optional() }),
  z.object({
    ...{ type: z.literal('stage-progress'), id: text, done: z.number(), total: z.number().optional() },
    ...{ unit: z.enum(['bytes', 'items']), detail: text.optional() },
  }),
  z.object({
    ...{ type: z.literal('stage-end'), id: text, title: text, seconds: z.number(), detail: text.optional() },
    outcome: z.enum(['done', 'cached', 'failed']),
  }),
  z.object({ type: z.literal('log'), level: z.enum(['debug', 'info', 'warning']), message: text }),
]);

const RemoteError = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  output: z.string().optional(),
  stack: z.string().optional(),
  findings: z.array(z.object({ message: z.string() })).optional(),
});

/**
 * @param words the command and its own options, such as `['upgrade', '--check']`
 * @throws IngotError NODE_UNREACHABLE, NODE_UNSUITED, and what the command throws there
 */
export async function runOnHost(
  context: CommandContext,
  { host: shown, sshConfig }: RemoteOptions,
  words: readonly string[],
): Promise<CommandResult> {
  const { env, reporter, signal } = context;
  const host = parseSshUrl(shown);
  const command = quoteForRemoteShell([
    ...['ingot', '--json', '--progress-fd', '2', 'node', PEER_OPTION, PEER_PROTOCOL],
    ...words,
  ]);
  const environment = Object.fromEntries(
    PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  );
  // Open as long as the command is wanted: its end is how the other side learns of Ctrl-C.
  const stdin = new Readable({ read: () => undefined });
  const patience = new AbortController();
  let grace: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    stdin.push(null);
    grace = setTimeout(() => {
      patience.abort();
    }, GRACE_MS);
  };
  if (signal.aborted) throw new IngotError('INTERRUPTED', 'interrupted');
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const result = await run(sshArgv(host, command, { configuration: sshConfig }), {
      env: environment,
      stdin,
      signal: patience.signal,
      okExitCodes: ANY_EXIT,
      onLine: (line) => {
        for (const event of parseEvent(line)) reporter.emit(event);
      },
    });
    return readAnswer(shown, result);
  } finally {
    clearTimeout(grace);
    signal.removeEventListener('abort', onAbort);
    stdin.destroy();
  }
}

/** One event, or none: stderr has other things too. */
function parseEvent(line: string): ReportEvent[] {
  const parsed = RemoteEvent.safeParse(fromJson(line));
  if (!parsed.success) return [];
  // zod writes what is absent as absent, and its types do not say so.
  return [parsed.data as ReportEvent];
}

function readAnswer(shown: string, { exitCode, stdout, stderr }: RunResult): CommandResult {
  const answer = z.record(z.string(), z.unknown()).safeParse(fromJson(resultIn(stdout))).data;
  if (answer?.['error'] !== undefined) throw errorOf(shown, answer['error'], exitCode);
  const peer = PeerEnvelope.safeParse(answer?.['peer']).data;
  // A node that restarts at once may take the connection along: what it answered before that counts.
  if (answer !== undefined && peer !== undefined) {
    const { peer: _peer, schemaVersion: _version, ...json } = answer;
    return { json, text: peer.text.split('\n').map(printableName).join('\n'), exitCode: peer.exitCode };
  }
  const complaint = withoutEvents(stderr);
  if (exitCode === SSH_FAILED) throw sshFailure(shown, complaint);
  if (exitCode === COMMAND_UNKNOWN) {
    throw new IngotError('NODE_UNSUITED', `there is no ingot on ${shown}`, {
      hint: 'images have it by `agent: true` in their declaration; its path must be in PATH for ssh',
      output: complaint,
    });
  }
  throw new IngotError('NODE_FAILED', `ingot on ${shown} ended with ${exitCode}, and gave no answer`, {
    output: complaint,
  });
}

/** Its own result begins with a line `{`: a login script may have greeted before. */
function resultIn(stdout: string): string {
  const begin = /^\{$/m.exec(stdout)?.index;
  return begin === undefined ? '' : stdout.slice(begin);
}

function errorOf(shown: string, value: unknown, exitCode: number): Error {
  const { code, message, hint, output, stack, findings = [] } = RemoteError.parse(value);
  const clean = (line: string): string => stripVTControlCharacters(line);
  if (code === 'USAGE' && message.includes(PEER_OPTION)) {
    return new IngotError('NODE_UNSUITED', `the Ingot on ${shown} is too old to be asked from here`, {
      hint: 'run it there: ssh HOST ingot node …; with the node’s next image it can be asked',
    });
  }
  if (code === 'BUG') {
    const bug = new Error(`ingot on ${shown} met a bug: ${clean(message)}`);
    if (stack !== undefined) bug.stack = clean(stack);
    return bug;
  }
  const told = findings.map((finding) => clean(finding.message)).join('\n');
  return new IngotError(knownCode(code, exitCode), `${shown}: ${clean(message)}`, {
    ...(hint !== undefined && { hint: clean(hint) }),
    ...(output !== undefined || told !== '' ? { output: clean(output ?? told) } : {}),
  });
}

/** A code that is newer than this Ingot is said by one that exits alike. */
function knownCode(code: string, exitCode: number): ErrorCode {
  const said = code as ErrorCode;
  if (exitCode !== 2 || exitCodeOf(new IngotError(said, '')) === exitCode) return said;
  return 'NODE_UNSUITED';
}

function withoutEvents(stderr: string): string {
  return stderr
    .split('\n')
    .filter((line) => !line.startsWith('{"schemaVersion"'))
    .join('\n');
}

function fromJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

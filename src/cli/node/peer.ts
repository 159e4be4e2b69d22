/**
 * What two Ingots say to each other when one runs a command of `ingot node` on the other's machine: the command line,
 * progress as JSON lines on stderr, the result as JSON on stdout with an envelope, and the end of stdin for Ctrl-C.
 */
import * as z from 'zod';

import { IngotError } from '../../errors.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { readVersion } from '../root-command.ts';

/** Goes up when what is said below changes its meaning. */
export const PEER_PROTOCOL = '1';
export const PEER_OPTION = '--peer';

/** Beside the members of the result. */
export const PeerEnvelope = z.object({
  protocol: z.string(),
  version: z.string(),
  exitCode: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  /** The result for a person. */
  text: z.string(),
});

/**
 * Answers another Ingot. When it goes, or is interrupted there, stdin ends, and so does what runs here.
 *
 * @throws IngotError NODE_UNSUITED for a protocol to come, and what the handler throws
 */
export async function answerPeer(
  context: CommandContext,
  protocol: string,
  stdin: NodeJS.ReadStream,
  handler: (context: CommandContext) => Promise<CommandResult>,
): Promise<CommandResult> {
  if (protocol !== PEER_PROTOCOL) {
    throw new IngotError('NODE_UNSUITED', `Ingot ${readVersion()} does not know how ${protocol} is spoken`, {
      hint: 'use the Ingot of the node’s own version, or run it there: ssh HOST ingot node …',
    });
  }
  const gone = new AbortController();
  const onGone = (): void => {
    gone.abort();
  };
  stdin.once('end', onGone).once('close', onGone).once('error', onGone).resume();
  try {
    const signal = AbortSignal.any([context.signal, gone.signal]);
    const { json, text, exitCode = 0 } = await handler({ ...context, signal });
    const peer = { protocol: PEER_PROTOCOL, version: readVersion(), exitCode, text };
    return { json: { ...json, peer }, text, exitCode };
  } catch (error) {
    if (gone.signal.aborted && error instanceof Error && error.name === 'AbortError') {
      throw new IngotError('INTERRUPTED', 'interrupted', { cause: error });
    }
    throw error;
  } finally {
    stdin.off('end', onGone).off('close', onGone).off('error', onGone).pause();
  }
}

/** QEMU's machine protocol: JSON lines over a socket. https://www.qemu.org/docs/master/interop/qmp-spec.html */
import type { Duplex } from 'node:stream';
import * as z from 'zod';

import { IngotError } from '../../errors.ts';
import { splitLines } from '../../proc/run.ts';

export type QmpMessage =
  | { readonly type: 'greeting'; readonly version: string }
  | { readonly type: 'return'; readonly id: number; readonly value: unknown }
  | { readonly type: 'error'; readonly id: number; readonly message: string }
  | { readonly type: 'event'; readonly name: string; readonly data: Readonly<Record<string, unknown>> };

export type QmpEvent = Extract<QmpMessage, { type: 'event' }>;

const Wire = z.union([
  z
    .object({
      QMP: z.object({
        version: z.object({ qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }) }),
      }),
    })
    .transform(({ QMP: { version } }): QmpMessage => {
      const { major, minor, micro } = version.qemu;
      return { type: 'greeting', version: `${major}.${minor}.${micro}` };
    }),
  z
    .object({ id: z.int(), error: z.object({ class: z.string(), desc: z.string() }) })
    .transform(({ id, error }): QmpMessage => ({ type: 'error', id, message: error.desc })),
  z
    .object({ event: z.string(), data: z.record(z.string(), z.unknown()).default({}) })
    .transform(({ event, data }): QmpMessage => ({ type: 'event', name: event, data })),
  z
    .object({ id: z.int(), return: z.unknown() })
    .transform((message): QmpMessage => ({ type: 'return', id: message.id, value: message.return })),
]);

/** @throws IngotError VM_FAILED for a line that QMP does not know. */
export function parseQmpMessage(line: string): QmpMessage {
  try {
    return Wire.parse(JSON.parse(line));
  } catch (cause) {
    throw new IngotError('VM_FAILED', `QEMU said something unexpected: ${line.slice(0, 200)}`, { cause });
  }
}

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class Qmp {
  readonly #socket: Duplex;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  /** Negotiates on a fresh socket. `onEvent` gets every event from the first on. */
  static async connect(socket: Duplex, onEvent: (event: QmpEvent) => void): Promise<Qmp> {
    const qmp = new Qmp(socket, onEvent);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  private constructor(socket: Duplex, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    splitLines(socket, (line) => {
      if (line !== '') this.#receive(line, onEvent);
    });
    socket.on('close', () => {
      this.#failAll(new IngotError('VM_FAILED', 'QEMU has ended'));
    });
  }

  /** @throws IngotError VM_FAILED when QEMU refuses or has gone. */
  async execute(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    if (this.#socket.destroyed) throw new IngotError('VM_FAILED', 'QEMU has ended');
    const id = ++this.#lastId;
    return await new Promise((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: parameters, id })}\n`);
    });
  }

  #receive(line: string, onEvent: (event: QmpEvent) => void): void {
    let message: QmpMessage;
    try {
      message = parseQmpMessage(line);
    } catch (error) {
      this.#failAll(error);
      return;
    }
    switch (message.type) {
      case 'greeting':
        return;
      case 'event':
        onEvent(message);
        return;
      case 'return':
        this.#take(message.id)?.resolve(message.value);
        return;
      case 'error': {
        const pending = this.#take(message.id);
        pending?.reject(new IngotError('VM_FAILED', `QEMU refused ${pending.command}: ${message.message}`));
      }
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #failAll(error: unknown): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

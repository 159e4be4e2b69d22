/**
 * What happened to this node's system: one JSON object a line, only ever appended to, each line durable before the next
 * step is taken. A line that a power loss cut short, or that something else wrote over, is passed over and counted. The
 * order is that of the lines; the clock may be wrong.
 */
import { constants } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';

import { DigestText } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { syncDirectory, writeFileAtomically } from '../store/store.ts';

const EVENTS = [
  'started',
  'downloaded',
  'staged',
  'restarting',
  'waiting',
  'refused',
  'failed',
  'interrupted',
  'discarded',
  'rollback',
  'good',
  'bad',
  'settled',
  'provisioned',
] as const;

export const JournalEntry = z.object({
  /** ISO 8601, by this machine's clock. */
  at: z.string(),
  /** Entries of one update have the same. */
  update: z.string(),
  event: z.enum(EVENTS),
  reference: z.string().optional(),
  digest: DigestText.optional(),
  version: z.string().optional(),
  /** `ingot.id` of the boot entry that is meant. */
  bootId: z.string().optional(),
  /** In a sentence, for a person. */
  reason: z.string().optional(),
  /** Of the error, where there was one. */
  code: z.string().optional(),
  bytes: z.number().optional(),
  /** A signature was wanted, and was there. */
  signed: z.boolean().optional(),
  /** How a restart goes. */
  restart: z.enum(['soft', 'full']).optional(),
  seconds: z.number().optional(),
});
export type JournalEntry = z.infer<typeof JournalEntry>;

export interface JournalContents {
  /** Oldest first. */
  readonly entries: readonly JournalEntry[];
  /** Lines that cannot be read. */
  readonly damaged: number;
}

/** Older entries go when the file is larger. */
const MAX_BYTES = 1024 * 1024;

export function parseJournal(text: string): JournalContents {
  const entries: JournalEntry[] = [];
  let damaged = 0;
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const entry = JournalEntry.safeParse(fromJson(line));
    if (entry.success) entries.push(entry.data);
    else damaged += 1;
  }
  return { entries, damaged };
}

export class Journal {
  readonly path: string;
  readonly #now: () => Date;

  constructor(path: string, now: () => Date) {
    this.path = path;
    this.#now = now;
  }

  /** Without the file: nothing has happened yet. */
  async read(): Promise<JournalContents> {
    return parseJournal((await this.#bytes()).toString());
  }

  /** Returns when the entry would survive a power loss. One writer at a time: the caller holds the node's lock. */
  async append(entry: Omit<JournalEntry, 'at'>): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    const before = await this.#bytes();
    // A cut line is ended first, so that it takes no whole one with it.
    const gap = before.length > 0 && before.at(-1) !== 0x0a ? '\n' : '';
    const line = `${gap}${JSON.stringify({ at: this.#now().toISOString(), ...entry })}\n`;
    if (before.length + line.length > MAX_BYTES) {
      const kept = before.subarray(before.length - MAX_BYTES / 2);
      const whole = kept.subarray(kept.indexOf(0x0a) + 1);
      await writeFileAtomically(this.path, Buffer.concat([whole, Buffer.from(line)]));
      return;
    }
    const file = await open(this.path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o644);
    try {
      await file.writeFile(line);
      await file.sync();
    } finally {
      await file.close();
    }
    if (before.length === 0) await syncDirectory(dirname(this.path));
  }

  async #bytes(): Promise<Buffer> {
    try {
      return await readFile(this.path);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT') return Buffer.alloc(0);
      if (errno === undefined) throw error;
      throw new IngotError('NODE_FAILED', `${this.path} cannot be read (${errno})`, {
        hint: 'it is a file with a line for each thing that happened; move what is there away, and a new one begins',
        cause: error,
      });
    }
  }
}

type UpdateEvent = Exclude<JournalEntry['event'], 'provisioned'>;
type UpdateEntry = JournalEntry & { readonly event: UpdateEvent };

/** That a machine was provisioned is in the journal too, and is no update. */
function isOfUpdate(entry: JournalEntry): entry is UpdateEntry {
  return entry.event !== 'provisioned';
}

export interface UpdateRecord {
  readonly update: string;
  readonly at: string;
  readonly reference?: string;
  readonly digest?: string;
  readonly version?: string;
  /** What came of it so far: the last that was written down. */
  readonly outcome: UpdateEvent;
  readonly reason?: string;
  readonly entries: readonly JournalEntry[];
}

/** Updates, newest first, each with how it ended. */
export function updatesIn(entries: readonly JournalEntry[]): readonly UpdateRecord[] {
  const byUpdate = new Map<string, UpdateEntry[]>();
  for (const entry of entries.filter(isOfUpdate)) {
    const known = byUpdate.get(entry.update);
    if (known === undefined) byUpdate.set(entry.update, [entry]);
    else known.push(entry);
  }
  return [...byUpdate.entries()].reverse().flatMap(([update, all]): UpdateRecord[] => {
    const [first, last] = [all[0], all.at(-1)];
    if (first === undefined || last === undefined) return [];
    const told = <Key extends 'reference' | 'digest' | 'version'>(key: Key): JournalEntry[Key] =>
      all.findLast((entry) => entry[key] !== undefined)?.[key];
    const [reference, digest, version] = [told('reference'), told('digest'), told('version')];
    return [
      {
        update,
        at: first.at,
        ...(reference !== undefined && { reference }),
        ...(digest !== undefined && { digest }),
        ...(version !== undefined && { version }),
        outcome: last.event,
        ...(last.reason !== undefined && { reason: last.reason }),
        entries: all,
      },
    ];
  });
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Vulnerability data: the export of Debian's security tracker, or of OSV as a ZIP archive, a folder, JSON or JSON
 * lines; each also gzipped. Read as it goes by, so that memory stays flat.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { pipeline as finished } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

import * as z from 'zod';

import type { Advisory } from '../../audit/advisory.ts';
import type { DebianRelease } from '../../audit/debian-releases.ts';
import { advisoriesOfRecord, OsvRecord } from '../../audit/osv.ts';
import { advisoriesOf } from '../../audit/tracker.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import type { Stage } from '../../report/events.ts';
import { JsonMembers } from './json-members.ts';
import { zipEntries } from './zip-entries.ts';

export interface AdvisoryQuestion {
  /** As the person wrote it: a path or an address. */
  readonly data: string;
  readonly cwd: string;
  /** Source packages that are asked about. */
  readonly sources: ReadonlySet<string>;
  readonly release: DebianRelease;
  /** A folder of the caller's for what is fetched. */
  readonly scratch: string;
  readonly stage?: Stage | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface AdvisoryData {
  readonly advisories: readonly Advisory[];
  readonly format: 'tracker' | 'osv';
  /** When the data was made, as far as it or its file says; ISO 8601. */
  readonly from: string;
}

const MAX_DOWNLOAD = 4 * 1024 ** 3;
const MAX_MEMBER_BYTES = 64 * 1024 * 1024;
const MAX_LINE_BYTES = 16 * 1024 * 1024;
/** How OSV's records begin; no source package is called so. */
const OSV_MEMBERS: ReadonlySet<string> = new Set([
  ...['affected', 'aliases', 'credits', 'database_specific', 'details', 'id', 'modified', 'published'],
  ...['references', 'related', 'schema_version', 'severity', 'summary', 'upstream', 'withdrawn'],
]);

/** @throws IngotError ADVISORIES_UNREADABLE, also when the data says nothing of the release; INTERRUPTED */
export async function readAdvisories(question: AdvisoryQuestion): Promise<AdvisoryData> {
  const { data, signal } = question;
  try {
    const { path, from } = await locate(question);
    const collector = new Collector(question);
    const format = await readInto(collector, path, question);
    if (collector.advisories.length === 0) throw new Error(silence(question, format));
    return { advisories: collector.advisories, format, from: collector.newest ?? from };
  } catch (error) {
    if (signal?.aborted === true) {
      throw new IngotError('INTERRUPTED', 'interrupted while reading vulnerability data', { cause: error });
    }
    if (error instanceof IngotError) throw error;
    const said = error instanceof z.ZodError ? error.issues[0]?.message : (error as Error).message;
    throw new IngotError('ADVISORIES_UNREADABLE', `${data}: ${said ?? 'it cannot be read'}`, {
      hint: 'give the JSON export of security-tracker.debian.org, or an OSV export of the ecosystem Debian',
      cause: error,
    });
  }
}

/** A clean bill of health from data that is about something else would be worse than none. */
function silence({ release }: AdvisoryQuestion, format: AdvisoryData['format']): string {
  if (format === 'osv' && release.number === undefined) {
    return `OSV has no data of ${release.codename}: use the export of Debian's security tracker`;
  }
  return `it says nothing of any package of this image in ${release.codename}`;
}

class Collector {
  readonly #question: AdvisoryQuestion;
  readonly advisories: Advisory[] = [];
  newest: string | undefined;

  constructor(question: AdvisoryQuestion) {
    this.#question = question;
  }

  addPackage(source: string, value: unknown): void {
    this.advisories.push(...advisoriesOf(source, value, this.#question.release.codename));
  }

  addRecord(value: unknown): void {
    const record = OsvRecord.parse(value);
    if (record.modified !== undefined && record.modified > (this.newest ?? '')) this.newest = record.modified;
    const { release, sources } = this.#question;
    if (release.number === undefined) return;
    this.advisories.push(
      ...advisoriesOfRecord(record, release.number).filter(({ source }) => sources.has(source)),
    );
  }
}

/** What is named by an address is fetched first: an archive is read from its end. */
async function locate({
  data,
  cwd,
  scratch,
  signal,
}: AdvisoryQuestion): Promise<{ path: string; from: string }> {
  if (!/^https?:\/\//.test(data)) {
    const path = resolve(cwd, data);
    try {
      return { path, from: (await stat(path)).mtime.toISOString() };
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new Error('there is no such file', { cause: error });
    }
  }
  const response = await fetch(data, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    const { cause } = error as Error;
    throw new Error(`it cannot be fetched: ${cause instanceof Error ? cause.message : String(error)}`, {
      cause: error,
    });
  });
  if (!response.ok || response.body === null) throw new Error(`the server answers ${response.status}`);
  const path = join(scratch, 'advisories');
  let bytes = 0;
  const bounded = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > MAX_DOWNLOAD) throw new Error('it is larger than any such data');
      yield chunk;
    }
  };
  await finished(response.body, bounded, createWriteStream(path));
  const made = new Date(response.headers.get('last-modified') ?? Number.NaN);
  return { path, from: (Number.isNaN(made.getTime()) ? (await stat(path)).mtime : made).toISOString() };
}

async function readInto(
  collector: Collector,
  path: string,
  { sources, stage, signal }: AdvisoryQuestion,
): Promise<AdvisoryData['format']> {
  const status = await stat(path);
  if (status.isDirectory()) {
    for (const name of (await readdir(path)).filter((one) => one.endsWith('.json')).sort()) {
      signal?.throwIfAborted();
      collector.addRecord(JSON.parse(await readFile(join(path, name), 'utf8')));
    }
    return 'osv';
  }
  const head = await firstBytes(path);
  if (head.toString('latin1', 0, 2) === 'PK') {
    for await (const entry of zipEntries(path)) {
      signal?.throwIfAborted();
      if (entry.name.endsWith('.json')) collector.addRecord(JSON.parse((await entry.read()).toString()));
    }
    return 'osv';
  }
  let done = 0;
  const file = createReadStream(path, {
    highWaterMark: 1024 * 1024,
    ...(signal !== undefined && { signal }),
  });
  file.on('data', (chunk) => {
    done += chunk.length;
    stage?.progress(done, status.size, 'bytes');
  });
  const isPacked = head[0] === 0x1f && head[1] === 0x8b;
  const plain: AsyncIterable<Buffer> = isPacked
    ? pipeline(file, createGunzip({ chunkSize: 1024 * 1024 }), () => undefined)
    : file;
  return readText(collector, plain, sources);
}

async function firstBytes(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** The first name tells what it is: a member of OSV's records, or a source package. */
async function readText(
  collector: Collector,
  chunks: AsyncIterable<Buffer>,
  sources: ReadonlySet<string>,
): Promise<AdvisoryData['format']> {
  const iterator = chunks[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  let start: string | undefined;
  let ended = false;
  while (start === undefined && head.length < MAX_LINE_BYTES && !ended) {
    const next = await iterator.next();
    if (next.done === true) ended = true;
    else head = Buffer.concat([head, next.value]);
    start = /^\s*(?:\[|\{\s*"(?:[^"\\]|\\.)*"|\{\s*\})/.exec(head.toString('utf8', 0, 4096))?.[0];
  }
  const all = async function* (): AsyncGenerator<Buffer> {
    yield head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  };
  if (start === undefined) throw new Error('it is not JSON');
  const name = /"(.*)"$/s.exec(start)?.[1];
  if (name !== undefined && !OSV_MEMBERS.has(name)) {
    const members = new JsonMembers({
      wants: (one) => sources.has(one),
      onMember: (source, value) => {
        collector.addPackage(source, value);
      },
      maxBytes: MAX_MEMBER_BYTES,
    });
    for await (const chunk of all()) members.write(chunk);
    members.end();
    return 'tracker';
  }
  if (name === undefined) throw new Error('it is neither an export of the tracker nor records of OSV');
  await addLines(collector, all());
  return 'osv';
}

/** JSON lines; a single record may also fill the whole file, over many lines. */
async function addLines(collector: Collector, chunks: AsyncIterable<Buffer>): Promise<void> {
  let rest = '';
  let isOnePerLine: boolean | undefined;
  const add = (text: string): void => {
    if (text.trim() !== '') collector.addRecord(JSON.parse(text));
  };
  for await (const chunk of Readable.from(chunks).setEncoding('utf8') as AsyncIterable<string>) {
    rest += chunk;
    if (rest.length > MAX_LINE_BYTES) throw new Error('a record of it is larger than any such record');
    const lines = rest.split('\n');
    if (lines.length === 1) continue;
    isOnePerLine ??= isJson(lines[0] ?? '');
    if (!isOnePerLine) continue;
    rest = lines.pop() ?? '';
    for (const line of lines) add(line);
  }
  add(rest);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

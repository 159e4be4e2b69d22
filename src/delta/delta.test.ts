/** Deltas, made and applied. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { constants, createZstdCompress, zstdCompress, type ZstdOptions } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import { run } from '../proc/run.ts';
import { applyDelta, type ApplyDeltaOptions } from './apply-delta.ts';
import {
  annotationsOf,
  DELTA_ANNOTATIONS,
  HEADER_BYTES,
  MAGIC,
  MAX_DICTIONARY_BYTES,
  MAX_PIECE_BYTES,
  parseAnnotations,
} from './format.ts';
import { makeDelta, type MadeDelta, OldLayers } from './make-delta.ts';
import { type PlainArchive, unpackArchive } from './plain-archive.ts';

const MiB = 1024 * 1024;
const OLD = digestOf('the old layer');
let scratch: string;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-delta-'));
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

/** A real archive of files by path. */
async function archiveOf(name: string, files: Readonly<Record<string, Buffer>>): Promise<PlainArchive> {
  const tree = join(scratch, `${name}-tree`);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(tree, dirname(path)), { recursive: true });
    await writeFile(join(tree, path), content);
  }
  const tar = join(scratch, `${name}-made.tar`);
  await run(['tar', '-C', tree, '--sort=name', '--mtime=@0', '-cf', tar, '.']);
  return await unpackArchive(createReadStream(tar), join(scratch, `${name}.tar`));
}

function oldLayers(archive: PlainArchive): OldLayers {
  const old = new OldLayers();
  old.add(OLD, archive);
  return old;
}

/** Files of the old layer's tree, as a node would have them. */
const fromTree: ApplyDeltaOptions['openFile'] = async (layer, path) =>
  layer === OLD ? await open(join(scratch, 'old-tree', path)).catch(() => undefined) : undefined;

interface Pair {
  readonly target: PlainArchive;
  readonly made: MadeDelta;
}

async function deltaOf(
  before: Readonly<Record<string, Buffer>>,
  after: Readonly<Record<string, Buffer>>,
): Promise<Pair> {
  const old = oldLayers(await archiveOf('old', before));
  const target = await archiveOf('new', after);
  const made = await makeDelta(target, old, join(scratch, 'delta'), { maxBytes: target.size });
  if (made === undefined) throw new Error('no delta was made');
  return { target, made };
}

async function applied({ target, made }: Pair, openFile = fromTree): Promise<Buffer> {
  const path = join(scratch, 'applied.tar');
  await applyDelta(made.path, target, path, { openFile });
  return await readFile(path);
}

/** The same with some bytes put in, some changed and some taken out. */
function changed(bytes: Buffer, at: number): Buffer {
  const after = Buffer.concat([bytes.subarray(0, at), Buffer.from('put in'), bytes.subarray(at + 1)]);
  after.writeUInt32LE(0xdeadbeef, Math.floor(at / 2));
  return after;
}

function code(expected: string): unknown {
  return expect.objectContaining({ code: expected });
}

test('a new release is told in terms of the old one: a large file, small ones, and one that is new', async () => {
  const firmware = randomBytes(MAX_PIECE_BYTES + 3 * MiB);
  const library = randomBytes(300_000);
  const kept = randomBytes(50_000);
  const fresh = randomBytes(10_000);
  const pair = await deltaOf(
    { 'fw/535.261.03/gsp.bin': firmware, 'lib/libcuda.so.535.261.03': library, 'doc/kept': kept },
    {
      'fw/535.274.02/gsp.bin': changed(firmware, MAX_PIECE_BYTES - 10),
      'lib/libcuda.so.535.274.02': changed(library, 1000),
      'doc/kept': kept,
      'doc/fresh': fresh,
    },
  );
  expect((await applied(pair)).equals(await readFile(pair.target.path))).toBe(true);
  expect(pair.made.sources).toEqual([OLD]);
  expect(pair.made.size).toBe((await stat(pair.made.path)).size);
  expect(pair.made.digest).toBe(digestOf(await readFile(pair.made.path)));
  // What is new, and a little: nothing of 19 MiB that stayed.
  expect(pair.made.size).toBeLessThan(fresh.length + 10_000);
});

test('an old file larger than a dictionary is taken by parts', async () => {
  const library = randomBytes(MAX_DICTIONARY_BYTES + 20 * MiB);
  const pair = await deltaOf({ 'lib.so.1': library }, { 'lib.so.2': changed(library, 60 * MiB) });
  expect((await applied(pair)).equals(await readFile(pair.target.path))).toBe(true);
  // Places of 64 MiB do not all fit into the tables.
  expect(pair.made.size).toBeLessThan(MiB);
});

test('the same files give the same bits', async () => {
  const one = randomBytes(100_000);
  const { made } = await deltaOf({ a: one }, { a: changed(one, 50_000), b: Buffer.from('b') });
  const first = await readFile(made.path);
  await rm(made.path);
  const archive = await unpackArchive(createReadStream(join(scratch, 'old-made.tar')), join(scratch, 'old2'));
  const target = await unpackArchive(createReadStream(join(scratch, 'new-made.tar')), join(scratch, 'new2'));
  await makeDelta(target, oldLayers(archive), made.path, { maxBytes: MiB });
  expect(await readFile(made.path)).toEqual(first);
});

test('none is made where nothing is shared, or where it would take more than the layer', async () => {
  const old = oldLayers(await archiveOf('old', { 'a/file': randomBytes(100_000) }));
  const other = await archiveOf('other', { 'b/elsewhere': randomBytes(100_000) });
  const path = join(scratch, 'delta');
  expect(await makeDelta(other, old, path, { maxBytes: MiB })).toBeUndefined();
  const same = await archiveOf('same', { 'a/file': randomBytes(100_000) });
  expect(await makeDelta(same, old, path, { maxBytes: 50_000 })).toBeUndefined();
  await expect(stat(path)).rejects.toThrow('ENOENT');
});

test('an archive without files of its own has no delta', async () => {
  const old = oldLayers(await archiveOf('old', { a: Buffer.from('a') }));
  const empty = await archiveOf('empty', { 'folder/empty': Buffer.alloc(0) });
  expect(await makeDelta(empty, old, join(scratch, 'delta'), { maxBytes: MiB })).toBeUndefined();
});

test('it says which old file is missing, shorter or other, and leaves nothing half written', async () => {
  const content = randomBytes(100_000);
  const pair = await deltaOf({ 'lib/a': content }, { 'lib/a': changed(content, 10) });
  await expect(applied(pair, () => Promise.resolve(undefined))).rejects.toThrow(code('NOT_FOUND'));
  const file = join(scratch, 'old-tree/lib/a');
  await truncate(file, 99_999);
  await expect(applied(pair)).rejects.toThrow(/\/lib\/a of the layer sha256:/);
  await writeFile(file, randomBytes(100_000));
  await expect(applied(pair)).rejects.toThrow(code('DIGEST_MISMATCH'));
  await expect(stat(join(scratch, 'applied.tar'))).rejects.toThrow('ENOENT');
  await writeFile(file, content);
  expect((await applied(pair)).equals(await readFile(pair.target.path))).toBe(true);
});

test('an archive that is there already is not written over', async () => {
  const content = randomBytes(10_000);
  const pair = await deltaOf({ a: content }, { a: changed(content, 10) });
  await writeFile(join(scratch, 'applied.tar'), 'mine');
  await expect(applied(pair)).rejects.toThrow('EEXIST');
  expect(await readFile(join(scratch, 'applied.tar'), 'utf8')).toBe('mine');
});

test('what is damaged is refused, wherever it is', async () => {
  const content = randomBytes(100_000);
  const { target, made } = await deltaOf({ a: content }, { a: changed(content, 10), b: randomBytes(500) });
  const whole = await readFile(made.path);
  const archive = await readFile(target.path);
  for (let at = 0; at < whole.length; at += 7) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    await writeFile(made.path, damaged);
    const outcome: unknown = await applied({ target, made }).catch((error: unknown) => error);
    // A bit that means nothing to zstd changes nothing.
    if (Buffer.isBuffer(outcome)) expect(outcome.equals(archive), `at ${at}`).toBe(true);
    else expect(errnoOf(outcome), `at ${at}`).toMatch(/^(?:IMAGE_INVALID|NOT_FOUND|DIGEST_MISMATCH)$/);
    await rm(join(scratch, 'applied.tar'), { force: true });
  }
  for (const length of [0, 5, HEADER_BYTES, HEADER_BYTES + 3, whole.length - 1]) {
    await writeFile(made.path, whole.subarray(0, length));
    await expect(applied({ target, made }), `${length} bytes`).rejects.toThrow(code('IMAGE_INVALID'));
  }
  await expect(stat(join(scratch, 'applied.tar'))).rejects.toThrow('ENOENT');
});

test.each([
  ['a piece that becomes more than it says', { pieces: [{ size: 64, from: [] }] }, 'has a damaged piece'],
  ['an archive of another size', { pieces: [{ size: 63, from: [] }] }, 'does not make an archive'],
  ['a piece without end', { pieces: [{ size: MAX_PIECE_BYTES + 1, from: [] }] }, 'cannot be read'],
  ['sources without end', { pieces: [{ size: 64, from: [[0, 'a', 0, 2 ** 40]] }] }, 'cannot be read'],
  ['a layer that it does not name', { pieces: [{ size: 64, from: [[1, 'a', 0, 1]] }] }, 'cannot be read'],
  ['a source of nothing', { pieces: [{ size: 64, from: [[0, 'a', 0, 0]] }] }, 'cannot be read'],
  ['a source without a name', { pieces: [{ size: 64, from: [[0, '', 0, 1]] }] }, 'cannot be read'],
  ['a source before its file', { pieces: [{ size: 64, from: [[0, 'a', -1, 1]] }] }, 'cannot be read'],
  ['a source that is none', { pieces: [{ size: 64, from: [['a']] }] }, 'cannot be read'],
  ['a layer that is none', { layers: ['sha256:1'], pieces: [] }, 'cannot be read'],
  ['no pieces', { pieces: [] }, 'does not make an archive'],
  ['a version of later', { version: 2, pieces: [] }, 'cannot be read'],
])('it refuses %s', async (_name, index, message) => {
  const frame = await promisify(zstdCompress)(Buffer.alloc(MiB));
  const pieces = index.pieces.map((piece) => ({ packed: frame.length, ...piece }));
  const path = await writeDelta({ version: 1, layers: [OLD], ...index, pieces }, frame);
  const wanted = { digest: digestOf('x'), size: 64 };
  await expect(applyDelta(path, wanted, join(scratch, 'out'), { openFile: fromTree })).rejects.toThrow(
    message,
  );
});

test('an index that is there to keep a node busy is refused at once', async () => {
  const entry = [0, 'a', 0, 1];
  const most = { size: 64, packed: 1, from: Array.from({ length: 100_001 }, () => entry) };
  const wrong = { size: 64, packed: 1, from: Array.from({ length: 500_000 }, () => 7) };
  const wanted = { digest: digestOf('x'), size: 64 };
  for (const piece of [most, wrong]) {
    const path = await writeDelta({ version: 1, layers: [OLD], pieces: [piece] }, Buffer.alloc(1));
    const refused = applyDelta(path, wanted, join(scratch, 'out'), { openFile: fromTree });
    await expect(refused).rejects.toThrow('cannot be read');
  }
  const long = await writeDelta(
    { version: 1, layers: [], pieces: [], more: 'x'.repeat(9 * MiB) },
    Buffer.alloc(1),
  );
  await expect(applyDelta(long, wanted, join(scratch, 'out'), { openFile: fromTree })).rejects.toThrow(
    'cannot be read',
  );
});

test('a frame that wants more memory than a piece has is refused', async () => {
  const options: ZstdOptions = { params: { [constants.ZSTD_c_windowLog]: 26 } };
  // Of unknown length, so that the window is as it was asked for.
  const stream = createZstdCompress(options);
  stream.end(Buffer.alloc(64));
  stream.flush();
  const frame = Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>));
  const path = await writeDelta(
    { version: 1, layers: [], pieces: [{ size: 64, packed: frame.length, from: [] }] },
    frame,
  );
  const wanted = { digest: digestOf(Buffer.alloc(64)), size: 64 };
  await expect(applyDelta(path, wanted, join(scratch, 'out'), { openFile: fromTree })).rejects.toThrow(
    'has a damaged piece',
  );
});

test('an old file that looks like a dictionary of zstd is content like any other', async () => {
  const head = Buffer.from('37a430ec00000000', 'hex');
  const content = Buffer.concat([head, randomBytes(100_000)]);
  const pair = await deltaOf({ a: content }, { a: changed(content, 1000) });
  expect((await applied(pair)).equals(await readFile(pair.target.path))).toBe(true);
  expect(pair.made.size).toBeLessThan(5000);
});

test('of a path that is there more than once the last counts', async () => {
  const content = randomBytes(200_000);
  const tar = join(scratch, 'twice.tar');
  await mkdir(join(scratch, 'old-tree'));
  for (const bytes of [randomBytes(300_000), content]) {
    await writeFile(join(scratch, 'old-tree/a'), bytes);
    await run(['tar', '-C', join(scratch, 'old-tree'), '-rf', tar, 'a']);
  }
  const archive = await unpackArchive(createReadStream(tar), join(scratch, 'twice-plain'));
  expect(archive.files.map(({ path, size }) => [path, size])).toEqual([['a', content.length]]);
  const target = await archiveOf('new', { a: changed(content, 10) });
  const made = await makeDelta(target, oldLayers(archive), join(scratch, 'delta'), {
    maxBytes: 10_000,
  });
  if (made === undefined) throw new Error('no delta was made');
  expect((await applied({ target, made })).equals(await readFile(target.path))).toBe(true);
});

test('interrupted, it leaves nothing behind', async () => {
  const content = randomBytes(100_000);
  const pair = await deltaOf({ a: content }, { a: changed(content, 10) });
  const signal = AbortSignal.abort();
  const archive = await archiveOf('again', { a: content });
  const again = join(scratch, 'again-delta');
  await expect(makeDelta(pair.target, oldLayers(archive), again, { maxBytes: MiB, signal })).rejects.toThrow(
    code('INTERRUPTED'),
  );
  const path = join(scratch, 'applied.tar');
  await expect(applyDelta(pair.made.path, pair.target, path, { openFile: fromTree, signal })).rejects.toThrow(
    code('INTERRUPTED'),
  );
  expect((await readdir(scratch)).filter((name) => /^again-delta|^applied/.test(name))).toEqual([]);
});

async function writeDelta(index: object, frames: Buffer): Promise<string> {
  const packed = await promisify(zstdCompress)(JSON.stringify(index));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(packed.length);
  const path = join(scratch, 'delta');
  await writeFile(path, Buffer.concat([MAGIC, length, packed, frames]));
  return path;
}

test('what a layer says of its delta is read back, and nothing else is', () => {
  const delta = { layer: OLD, sources: [digestOf('a'), digestOf('b')], size: 12 };
  expect(parseAnnotations(annotationsOf(delta))).toEqual(delta);
  expect(parseAnnotations(annotationsOf({ ...delta, sources: [] }))).toEqual({ ...delta, sources: [] });
  for (const [key, value] of Object.entries({
    [DELTA_ANNOTATIONS.layer]: 'sha256:1',
    [DELTA_ANNOTATIONS.sources]: `${OLD} sha512:1`,
    [DELTA_ANNOTATIONS.size]: '1e3',
  })) {
    expect(parseAnnotations({ ...annotationsOf(delta), [key]: value }), key).toBeUndefined();
  }
  expect(parseAnnotations()).toBeUndefined();
});

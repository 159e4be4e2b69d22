/**
 * Images out of a registry, or out of its mirrors while they answer. A mirror is asked first and trusted for nothing:
 * what it gives is verified like all else, and what is wrong is asked for at the next place.
 */
import { createHash } from 'node:crypto';

import { type Digest, digestOf, hexOf, isDigest } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { MAX_JSON_BYTES } from '../blob.ts';
import { INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES } from '../image-graph.ts';
import type {
  BlobHash,
  BlobOptions,
  ImageSource,
  ManifestDocument,
  TransferOptions,
} from '../image-transfer.ts';
import { type Descriptor, Index, MEDIA_TYPES } from '../schema.ts';
import type { RepositoryClient } from './client.ts';
import { unreachable } from './client.ts';
import { bodyBatches, ConnectionError, type HttpResponse, readBody } from './http.ts';
import { ATTEMPTS } from './retry.ts';

/** Registries answer 404 for a manifest whose type is not named. */
const ACCEPT = [...MANIFEST_MEDIA_TYPES, ...INDEX_MEDIA_TYPES].join(', ');

/** Each may have as many as an index holds; a list that goes on longer is there to keep readers busy. */
const MAX_REFERRER_PAGES = 64;

export class RegistrySource implements ImageSource {
  readonly shown: string;
  readonly registry: string;
  readonly repository: string;
  /** Mirrors first, the registry itself last. */
  readonly #clients: readonly [RepositoryClient, ...RepositoryClient[]];
  /** Mirrors that failed once are not asked again. */
  readonly #given = new Set<RepositoryClient>();

  constructor(clients: readonly [RepositoryClient, ...RepositoryClient[]], shown: string) {
    this.#clients = clients;
    this.shown = shown;
    const own = clients.at(-1) ?? clients[0];
    this.registry = own.endpoint.registry;
    this.repository = own.endpoint.repository;
  }

  async manifest(
    reference: string | Descriptor | undefined,
    options: TransferOptions = {},
  ): Promise<ManifestDocument> {
    const name = typeof reference === 'object' ? reference.digest : (reference ?? 'latest');
    const document = await this.#firstThat((client, attempts) =>
      getManifest(client, name, attempts, options),
    );
    if (typeof reference === 'object' && document.descriptor.size !== reference.size) {
      throw mismatch(
        this.shown,
        `${name} has ${document.descriptor.size} bytes instead of ${reference.size}`,
      );
    }
    return document;
  }

  async *blob(descriptor: Descriptor, options: BlobOptions = {}): AsyncGenerator<Buffer> {
    for await (const batch of this.#batches(descriptor, options, false)) yield* batch;
  }

  blobBatches(descriptor: Descriptor, options: BlobOptions = {}): AsyncIterable<readonly Buffer[]> {
    return this.#batches(descriptor, options, true);
  }

  /** Cut connections are made again, and go on where they ended. */
  async *#batches(
    descriptor: Descriptor,
    { resume, signal }: BlobOptions,
    areLent: boolean,
  ): AsyncGenerator<readonly Buffer[]> {
    const { digest, size } = descriptor;
    let offset = resume?.offset ?? 0;
    const hash: BlobHash = resume?.hash ?? createHash('sha256');
    let fruitless = 0;
    while (offset < size) {
      const from = offset;
      const { response, client } = await this.#firstThat(async (candidate, attempts) => ({
        client: candidate,
        response: await getBlob(candidate, descriptor, from, attempts, signal),
      }));
      // A server that knows no ranges begins at the beginning.
      let skip = response.status === 206 ? 0 : offset;
      try {
        for await (const batch of bodyBatches(response, areLent)) {
          const parts: Buffer[] = [];
          for (const chunk of batch) {
            const part = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.length));
            skip -= chunk.length - part.length;
            if (part.length === 0) continue;
            if (offset + part.length > size) {
              this.#given.add(client);
              throw mismatch(this.shown, `${digest} has more than its ${size} bytes`);
            }
            hash.update(part);
            offset += part.length;
            parts.push(part);
          }
          if (parts.length > 0) yield parts;
        }
        if (offset < size) throw new ConnectionError(`${client.endpoint.registry} ended a blob early`, true);
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw error;
        // A mirror that gives nothing is left alone, whatever the reason.
        if (client.endpoint.isMirror && offset === from) {
          this.#given.add(client);
          continue;
        }
        fruitless = offset > from ? 1 : fruitless + 1;
        if (!error.transient || fruitless >= ATTEMPTS) throw unreachable(client.shown, error);
        await client.pause(fruitless + 1, signal, 0, error);
      }
    }
    if (`sha256:${await hash.digest('hex')}` === digest) return;
    for (const client of this.#clients.slice(0, -1)) this.#given.add(client);
    throw mismatch(this.shown, `${digest} has other content than its name says`);
  }

  async referrers(subject: Digest, options: TransferOptions = {}): Promise<readonly Descriptor[]> {
    const client = this.#clients.at(-1) ?? this.#clients[0];
    return (
      (await getReferrers(client, subject, options)) ??
      (await getFallbackIndex(client, subject, options)).manifests
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /** Asks mirrors in turn, each but once; the registry itself as often as it takes. */
  async #firstThat<T>(ask: (client: RepositoryClient, attempts: number) => Promise<T>): Promise<T> {
    const own = this.#clients.at(-1) ?? this.#clients[0];
    for (const client of this.#clients.slice(0, -1)) {
      if (this.#given.has(client)) continue;
      try {
        return await ask(client, 1);
      } catch (error) {
        if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
        // What a mirror merely lacks it may have of the next.
        if (error.code !== 'NOT_FOUND') this.#given.add(client);
      }
    }
    return ask(own, ATTEMPTS);
  }
}

async function getManifest(
  client: RepositoryClient,
  reference: string,
  attempts: number,
  { signal }: TransferOptions,
): Promise<ManifestDocument> {
  const response = await client.send({
    method: 'GET',
    to: `manifests/${reference}`,
    actions: 'pull',
    headers: { accept: ACCEPT },
    expect: [200],
    attempts,
    signal,
  });
  const bytes = await readDocumentBody(client, response);
  const digest = digestOf(bytes);
  const said = response.headers['docker-content-digest'];
  const wanted = isDigest(reference) ? reference : said;
  if (typeof wanted === 'string' && isDigest(wanted) && wanted !== digest) {
    throw mismatch(client.shown, `${reference} is ${digest} instead of ${wanted}`);
  }
  const type = (response.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
  const mediaType = type.startsWith('application/vnd.') ? type : ownMediaType(bytes);
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
}

/**
 * The referrers API's answer, page by page; undefined where there is none (distribution-spec, "Listing Referrers").
 *
 * @throws IngotError REGISTRY_FAILED for a list that does not end
 */
export async function getReferrers(
  client: RepositoryClient,
  subject: Digest,
  { signal }: TransferOptions,
): Promise<readonly Descriptor[] | undefined> {
  const found: Descriptor[] = [];
  let to: string | URL = `referrers/${subject}`;
  for (let page = 1; page <= MAX_REFERRER_PAGES; page += 1) {
    const response: HttpResponse = await client.send({
      method: 'GET',
      to,
      actions: 'pull',
      expect: page === 1 ? [200, 400, 404, 405] : [200],
      signal,
    });
    const bytes = await readDocumentBody(client, response);
    // Other servers answer 200 to what they do not know.
    const isIndex = (response.headers['content-type'] ?? '').startsWith(MEDIA_TYPES.index);
    if (response.status !== 200 || !isIndex) return undefined;
    found.push(...parseIndex(client, bytes).manifests);
    const next = nextPage(response.headers['link']);
    if (next === undefined) return found;
    to = client.resolve(next);
  }
  throw new IngotError(
    'REGISTRY_FAILED',
    `${client.shown} lists what refers to ${subject} on more than ${MAX_REFERRER_PAGES} pages`,
  );
}

/** Where a list goes on (RFC 8288). */
function nextPage(link: string | string[] | undefined): string | undefined {
  const all = Array.isArray(link) ? link.join(',') : (link ?? '');
  return /<([^>]*)>\s*;[^,<]*\brel\s*=\s*"?next"?/i.exec(all)?.[1];
}

/** The index that stands in for the API (distribution-spec, "Referrers Tag Schema"); empty when there is none. */
export async function getFallbackIndex(
  client: RepositoryClient,
  subject: Digest,
  options: TransferOptions,
): Promise<Index> {
  try {
    return parseIndex(client, (await getManifest(client, fallbackTag(subject), ATTEMPTS, options)).bytes);
  } catch (error) {
    if (error instanceof IngotError && error.code === 'NOT_FOUND') return { schemaVersion: 2, manifests: [] };
    throw error;
  }
}

export function fallbackTag(subject: Digest): string {
  return `sha256-${hexOf(subject)}`;
}

async function getBlob(
  client: RepositoryClient,
  { digest, size }: Descriptor,
  offset: number,
  attempts: number,
  signal: AbortSignal | undefined,
): Promise<HttpResponse> {
  const response = await client.send({
    method: 'GET',
    to: `blobs/${digest}`,
    actions: 'pull',
    headers: offset > 0 ? { range: `bytes=${offset}-${size - 1}` } : {},
    expect: [200, 206],
    attempts,
    signal,
  });
  const length = response.headers['content-length'];
  const expected = response.status === 206 ? size - offset : size;
  const range = /^bytes (\d+)-/.exec(response.headers['content-range'] ?? '')?.[1];
  const isElsewhere = response.status === 206 && Number(range) !== offset;
  if ((length === undefined || Number(length) === expected) && !isElsewhere) return response;
  response.body.destroy();
  throw mismatch(
    client.shown,
    isElsewhere
      ? `${digest} was sent from another place on`
      : `${digest} has ${length ?? ''} bytes instead of ${expected}`,
  );
}

async function readDocumentBody(client: RepositoryClient, response: HttpResponse): Promise<Buffer> {
  try {
    return await readBody(response, MAX_JSON_BYTES);
  } catch (error) {
    if (error instanceof ConnectionError) throw unreachable(client.shown, error);
    if (!(error instanceof RangeError)) throw error;
    throw new IngotError(
      'IMAGE_INVALID',
      `${client.shown}: a manifest has more than ${MAX_JSON_BYTES} bytes`,
    );
  }
}

function parseIndex(client: RepositoryClient, bytes: Buffer): Index {
  try {
    return Index.parse(JSON.parse(bytes.toString()));
  } catch {
    throw new IngotError('IMAGE_INVALID', `${client.shown}: its list of referrers is no index`);
  }
}

function ownMediaType(bytes: Buffer): string {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    const type = value !== null && typeof value === 'object' && 'mediaType' in value ? value.mediaType : '';
    return typeof type === 'string' ? type : '';
  } catch {
    return '';
  }
}

function mismatch(shown: string, what: string): IngotError {
  return new IngotError('DIGEST_MISMATCH', `${shown}: ${what}`, {
    hint: 'the registry, or somebody on the way, gives something else than was asked for',
  });
}

/**
 * One blob into a repository. Small ones in one request; large ones in parts, so that a cut connection or an expired
 * token costs a part and not the blob. A registry that cannot go on where it was gets the blob from its beginning,
 * and one that takes no parts gets it whole.
 *
 * distribution 2.8 ignores `Content-Range` and forgets an upload that was cut, but may still claim to know how far it
 * came: when the end then does not fit, the blob is sent again without relying on that.
 */
import { IngotError } from '../../errors.ts';
import type { BlobContent, PutBlobOptions } from '../image-transfer.ts';
import type { Descriptor } from '../schema.ts';
import { RefusedError, type RepositoryClient, unreachable } from './client.ts';
import { BodyError, ConnectionError, type HttpResponse, readBody } from './http.ts';
import { isTransientStatus, parseRetryAfter } from './retry.ts';

/** How a registry takes uploads, learned by trying; shared by all uploads to it. */
export interface UploadManners {
  inParts: boolean;
  resumes: boolean;
}

export interface UploadOptions extends PutBlobOptions {
  /** Bytes in one request. */
  readonly partBytes?: number | undefined;
}

const PART_BYTES = 64 * 1024 * 1024;
const RESTARTS = 5;
/** Registries hash and move a blob before they answer. */
const FINISH_IDLE_MS = 300_000;
/** What a registry answers that does not take parts, or does not put them together. */
const WRONG_REQUEST: ReadonlySet<number> = new Set([400, 405, 411, 413, 415, 416, 501]);
const OCTETS = { 'content-type': 'application/octet-stream' };

/** Something on the way failed, and the blob can be sent again. */
class UploadFailure extends Error {
  readonly reason: IngotError;
  readonly retryAfterMs: number;

  constructor(reason: IngotError, retryAfterMs = 0) {
    super(reason.message);
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @throws IngotError DIGEST_MISMATCH when the content is not the blob; REGISTRY_… ; what reading the content throws */
export async function uploadBlob(
  client: RepositoryClient,
  descriptor: Descriptor,
  content: BlobContent,
  manners: UploadManners,
  options: UploadOptions = {},
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await new Upload(client, descriptor, content, manners, options).run();
      return;
    } catch (error) {
      if (error instanceof BodyError) throw error.cause instanceof Error ? error.cause : error;
      if (!(error instanceof UploadFailure)) throw error;
      if (attempt >= RESTARTS) throw error.reason;
      options.onProgress?.(0);
      await client.pause(attempt + 1, options.signal, error.retryAfterMs, error.reason);
    }
  }
}

class Upload {
  readonly #client: RepositoryClient;
  readonly #descriptor: Descriptor;
  readonly #content: BlobContent;
  readonly #manners: UploadManners;
  readonly #options: UploadOptions;
  /** Where the registry wants what comes next. */
  #location: URL | undefined;
  #offset = 0;
  /** The content from `#offset` on; opened again after a failure. */
  #reader: { readonly at: number; readonly chunks: AsyncIterator<Buffer> } | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #resumed = false;
  /** Tries in a row that brought nothing. */
  #fruitless = 0;

  constructor(
    client: RepositoryClient,
    descriptor: Descriptor,
    content: BlobContent,
    manners: UploadManners,
    options: UploadOptions,
  ) {
    this.#client = client;
    this.#descriptor = descriptor;
    this.#content = content;
    this.#manners = manners;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { size } = this.#descriptor;
    const partBytes = this.#options.partBytes ?? PART_BYTES;
    try {
      const begun = await this.#client.send({
        method: 'POST',
        to: 'blobs/uploads/',
        actions: 'pull,push',
        expect: [202],
        signal: this.#options.signal,
        body: { length: 0, chunks: () => [] },
      });
      await readBody(begun, 64 * 1024);
      this.#location = this.#client.resolve(begun.headers.location);
      const least = Number(begun.headers['oci-chunk-min-length'] ?? 0);
      if (!this.#manners.inParts || size <= Math.max(partBytes, least)) {
        await this.#finish(size);
        return;
      }
      while (this.#offset < size) await this.#sendPart(Math.max(partBytes, least));
      await this.#finish(0);
    } finally {
      await this.#reader?.chunks.return?.();
    }
  }

  async #sendPart(partBytes: number): Promise<void> {
    const start = this.#offset;
    const length = Math.min(partBytes, this.#descriptor.size - start);
    try {
      const response = await this.#send('PATCH', length, {
        ...OCTETS,
        'content-range': `${start}-${start + length - 1}`,
      });
      this.#location = this.#client.resolve(response.headers.location);
      this.#offset = start + length;
    } catch (error) {
      if (!(error instanceof UploadFailure)) throw error;
      const { reason } = error;
      if (reason instanceof RefusedError && WRONG_REQUEST.has(reason.status)) {
        this.#manners.inParts = false;
        throw error;
      }
      if (!this.#manners.resumes) throw error;
      await this.#client.pause(2, this.#options.signal, error.retryAfterMs, reason);
      const reached = await this.#askOffset();
      if (reached === undefined || reached < start || reached > start + length) throw error;
      this.#fruitless = reached > start ? 0 : this.#fruitless + 1;
      if (this.#fruitless >= RESTARTS) throw error;
      this.#resumed = true;
      this.#offset = reached;
      this.#options.onProgress?.(reached);
    }
  }

  /** How far the registry came, when it knows. */
  async #askOffset(): Promise<number | undefined> {
    if (this.#location === undefined) return undefined;
    try {
      const response = await this.#client.send({
        method: 'GET',
        to: this.#location,
        actions: 'pull,push',
        expect: [204],
        signal: this.#options.signal,
      });
      response.body.destroy();
      const said = response.headers.range;
      const range = /^(?:bytes=)?0-(\d+)$/.exec(said ?? '')?.[1];
      if (response.headers.location !== undefined) {
        this.#location = this.#client.resolve(response.headers.location);
      }
      // distribution says 0-0 for nothing, and for one byte.
      return range === undefined || range === '0' ? undefined : Number(range) + 1;
    } catch (error) {
      if (error instanceof RefusedError) return undefined;
      throw error;
    }
  }

  /** The last request, with `length` bytes of content: all of the blob or nothing. */
  async #finish(length: number): Promise<void> {
    const url = new URL(this.#location ?? '');
    url.searchParams.append('digest', this.#descriptor.digest);
    this.#location = url;
    try {
      const response = await this.#send('PUT', length, OCTETS, FINISH_IDLE_MS);
      const said = response.headers['docker-content-digest'];
      if (said === undefined || said === this.#descriptor.digest) return;
      throw new IngotError(
        'REGISTRY_FAILED',
        `${this.#client.shown} took ${this.#descriptor.digest} for ${String(said)}`,
      );
    } catch (error) {
      const reason = error instanceof UploadFailure ? error.reason : undefined;
      if (!(reason instanceof RefusedError) || !WRONG_REQUEST.has(reason.status)) throw error;
      if (this.#resumed) this.#manners.resumes = false;
      else if (this.#offset > 0) this.#manners.inParts = false;
      else throw reason;
      throw error;
    }
  }

  async #send(
    method: string,
    length: number,
    headers: Readonly<Record<string, string>>,
    idleMs?: number,
  ): Promise<HttpResponse> {
    const { signal } = this.#options;
    const start = this.#offset;
    try {
      const response = await this.#client.send({
        method,
        to: this.#location ?? '',
        actions: 'pull,push',
        expect: method === 'PUT' ? [201, 204] : [202, 204],
        attempts: 1,
        headers,
        signal,
        ...(idleMs !== undefined && { idleMs }),
        body: {
          length,
          chunks: () => this.#take(start, length),
          onProgress: (bytes) => this.#options.onProgress?.(start + bytes),
        },
      });
      await readBody(response, 64 * 1024);
      return response;
    } catch (error) {
      // Read from the start of the part when it is sent again.
      await this.#reader?.chunks.return?.();
      this.#reader = undefined;
      throw this.#asFailure(error);
    }
  }

  #asFailure(error: unknown): unknown {
    if (error instanceof ConnectionError) return new UploadFailure(unreachable(this.#client.shown, error));
    if (error instanceof RefusedError) {
      const { status } = error;
      const again =
        isTransientStatus(status) || status === 401 || status === 404 || WRONG_REQUEST.has(status);
      // 401: the next request renews the token. 404: the registry has forgotten the upload.
      if (again) return new UploadFailure(error, parseRetryAfter(error.retryAfter, Date.now()));
    }
    if (
      error instanceof IngotError &&
      error.code === 'REGISTRY_UNREACHABLE' &&
      error.cause instanceof ConnectionError
    ) {
      return error.cause.transient ? new UploadFailure(error) : error;
    }
    return error;
  }

  /** `length` bytes from `start` on. Goes on with the open reader where it stands there. */
  async *#take(start: number, length: number): AsyncGenerator<Buffer> {
    if (length === 0 && this.#descriptor.size > 0) return;
    if (this.#reader?.at !== start) {
      await this.#reader?.chunks.return?.();
      this.#rest = Buffer.alloc(0);
      this.#reader = { at: start, chunks: this.#content.open(start)[Symbol.asyncIterator]() };
    }
    const { chunks } = this.#reader;
    let left = length;
    while (left > 0) {
      if (this.#rest.length === 0) {
        const next = await chunks.next();
        if (next.done === true) throw new RangeError(`the content ends ${left} bytes early`);
        this.#rest = next.value;
      }
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      if (part.length > 0 && left > 0) yield part;
      else if (part.length > 0) {
        // The last step of the content verifies it: before the last bytes leave, not after. It takes back its memory.
        const last = Buffer.from(part);
        if (start + length === this.#descriptor.size) await this.#drain(chunks);
        yield last;
      }
    }
    if (length === 0) await this.#drain(chunks);
    this.#reader = { at: start + length, chunks };
  }

  async #drain(chunks: AsyncIterator<Buffer>): Promise<void> {
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
      if (next.value.length > 0) throw new RangeError('the content goes on after its end');
    }
  }
}

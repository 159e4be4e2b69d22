/** Images into a registry. Names are moved last, and only by `putManifest`, whose parts are there by then. */
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';

import { canonicalJson, type Digest } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { MAX_JSON_BYTES } from '../blob.ts';
import { describeReferrer, INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, readDocument } from '../image-graph.ts';
import type {
  BlobContent,
  ImageSource,
  ImageTarget,
  ManifestDocument,
  PutBlobOptions,
  TransferOptions,
} from '../image-transfer.ts';
import { isTag } from '../reference.ts';
import { type Descriptor, type Index, MEDIA_TYPES } from '../schema.ts';
import { TokenServerError } from './authorizer.ts';
import type { RepositoryClient } from './client.ts';
import { readBody } from './http.ts';
import { fallbackTag, getFallbackIndex, RegistrySource } from './registry-source.ts';
import { uploadBlob, type UploadManners } from './upload.ts';

const ACCEPT = [...MANIFEST_MEDIA_TYPES, ...INDEX_MEDIA_TYPES].join(', ');
/** Others write the fallback index too, and the last one wins. */
const FALLBACK_TRIES = 8;

export class RegistryTarget implements ImageTarget {
  readonly shown: string;
  readonly parallel = 4;
  readonly #client: RepositoryClient;
  readonly #manners: UploadManners = { inParts: true, resumes: true };
  readonly #partBytes: number | undefined;
  /** One change of the fallback index at a time. */
  readonly #referring = pLimit(1);

  constructor(client: RepositoryClient, options: { readonly partBytes?: number | undefined } = {}) {
    this.#client = client;
    this.shown = client.shown;
    this.#partBytes = options.partBytes;
  }

  async hasBlob({ digest, size }: Descriptor, { signal }: TransferOptions = {}): Promise<boolean> {
    const response = await this.#client.send({
      method: 'HEAD',
      to: `blobs/${digest}`,
      actions: 'pull,push',
      expect: [200, 404],
      signal,
    });
    response.body.destroy();
    const length = response.headers['content-length'];
    return response.status === 200 && (length === undefined || Number(length) === size);
  }

  async hasManifest({ digest }: Descriptor, { signal }: TransferOptions = {}): Promise<boolean> {
    const response = await this.#client.send({
      method: 'HEAD',
      to: `manifests/${digest}`,
      actions: 'pull,push',
      headers: { accept: ACCEPT },
      expect: [200, 404],
      signal,
    });
    response.body.destroy();
    return response.status === 200;
  }

  /** distribution-spec, "Mounting a blob from another repository". */
  async mountBlob(
    { digest }: Descriptor,
    from: ImageSource,
    { signal }: TransferOptions = {},
  ): Promise<boolean> {
    const { registry, repository } = this.#client.endpoint;
    if (!(from instanceof RegistrySource) || from.registry !== registry || from.repository === repository) {
      return false;
    }
    const query = new URLSearchParams({ mount: digest, from: from.repository });
    const asked = this.#client.send({
      method: 'POST',
      to: `blobs/uploads/?${query.toString()}`,
      actions: 'pull,push',
      scopes: [`repository:${from.repository}:pull`],
      expect: [201, 202, 400, 401, 403, 404, 405],
      body: { length: 0, chunks: () => [] },
      signal,
    });
    const response = await asked.catch((error: unknown) => {
      // A token server that gives no token for the other repository: the blob is sent then.
      if (error instanceof TokenServerError && error.code === 'REGISTRY_DENIED') return undefined;
      throw error;
    });
    if (response === undefined) return false;
    await readBody(response, MAX_JSON_BYTES);
    if (response.status === 202 && response.headers.location !== undefined) {
      await this.#cancel(this.#client.resolve(response.headers.location), signal);
    }
    return response.status === 201;
  }

  async putBlob(descriptor: Descriptor, content: BlobContent, options: PutBlobOptions = {}): Promise<void> {
    const partBytes = this.#partBytes;
    await uploadBlob(this.#client, descriptor, content, this.#manners, { ...options, partBytes });
  }

  async putManifest(
    document: ManifestDocument,
    names: readonly string[],
    options: TransferOptions = {},
  ): Promise<void> {
    const { descriptor, bytes } = document;
    if (bytes.length > MAX_JSON_BYTES) {
      throw new IngotError(
        'IMAGE_INVALID',
        `${descriptor.digest} has ${bytes.length} bytes; registries take 4 MiB`,
      );
    }
    for (const name of names) requireTag(name);
    let hasReferrers = false;
    for (const name of names.length === 0 ? [descriptor.digest] : names) {
      const response = await this.#client.send({
        method: 'PUT',
        to: `manifests/${name}`,
        actions: 'pull,push',
        headers: { 'content-type': descriptor.mediaType },
        body: { length: bytes.length, chunks: () => [bytes] },
        expect: [200, 201, 202],
        signal: options.signal,
      });
      await readBody(response, MAX_JSON_BYTES);
      const said = response.headers['docker-content-digest'];
      if (said !== undefined && said !== descriptor.digest) {
        throw new IngotError(
          'REGISTRY_FAILED',
          `${this.shown} took ${descriptor.digest} for ${String(said)}`,
        );
      }
      hasReferrers ||= response.headers['oci-subject'] !== undefined;
    }
    const { subject } = readDocument(document, this.shown);
    if (subject === undefined || hasReferrers) return;
    await this.#referring(() => this.#refer(subject.digest, document, options));
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /**
   * Lists a referrer in the fallback index. Registries keep no lock for it, so what was written is read again after a
   * moment, and written again when another client's version has taken its place.
   */
  async #refer(subject: Digest, document: ManifestDocument, options: TransferOptions): Promise<void> {
    const entry = describeReferrer(document);
    for (let attempt = 1; attempt <= FALLBACK_TRIES; attempt += 1) {
      const index = await getFallbackIndex(this.#client, subject, options);
      if (index.manifests.some(({ digest }) => digest === entry.digest)) return;
      const next: Index = { ...index, mediaType: MEDIA_TYPES.index, manifests: [...index.manifests, entry] };
      const bytes = Buffer.from(canonicalJson(next));
      const response = await this.#client.send({
        method: 'PUT',
        to: `manifests/${fallbackTag(subject)}`,
        actions: 'pull,push',
        headers: { 'content-type': MEDIA_TYPES.index },
        body: { length: bytes.length, chunks: () => [bytes] },
        expect: [200, 201, 202],
        signal: options.signal,
      });
      await readBody(response, MAX_JSON_BYTES);
      const settle = 50 + Math.random() * 100 * attempt;
      await sleep(settle, undefined, options.signal === undefined ? {} : { signal: options.signal });
    }
    const last = await getFallbackIndex(this.#client, subject, options);
    if (last.manifests.some(({ digest }) => digest === entry.digest)) return;
    throw new IngotError('REGISTRY_FAILED', `${this.shown} keeps losing what refers to ${subject}`, {
      hint: 'others write at the same time: try again',
    });
  }

  async #cancel(location: URL, signal: AbortSignal | undefined): Promise<void> {
    const response = await this.#client
      .send({ method: 'DELETE', to: location, actions: 'pull,push', expect: [204], attempts: 1, signal })
      .catch(() => undefined); // the registry ends what nobody goes on with
    response?.body.destroy();
  }
}

function requireTag(name: string): void {
  if (isTag(name)) return;
  throw new IngotError('USAGE', `${JSON.stringify(name)} is no tag`, {
    hint: 'at most 128 letters, digits and . _ -, not beginning with . or -',
  });
}

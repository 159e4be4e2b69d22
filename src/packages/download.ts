/**
 * One file from one address into one open file, hashed on the way. Redirects are followed, size is bounded, an
 * idle connection is given up. Errors say what went wrong and never where: addresses are private.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

import { errnoOf, IngotError } from '../errors.ts';

/**
 * `gone`: the archive has no such file. `transient`: worth another try. `damaged`: other content than asked for.
 * `refused`: the archive answers, and will not give it. `disk`: our side cannot write.
 */
export type TransferFault = 'gone' | 'transient' | 'damaged' | 'refused' | 'disk';

export class TransferError extends Error {
  readonly fault: TransferFault;

  constructor(fault: TransferFault, reason: string) {
    super(reason);
    this.fault = fault;
  }
}

interface Connection {
  readonly idleMs: number;
  readonly signal: AbortSignal;
}

export interface Transfer extends Connection {
  readonly url: string;
  readonly size: number;
  readonly sha256: string;
  readonly to: FileHandle;
  readonly onBytes: (count: number) => void;
}

export interface ReadRequest extends Connection {
  readonly maxBytes: number;
}

const MAX_REDIRECTS = 5;

/** Connections that are kept between transfers. Dispose when done. */
export class Downloader implements Disposable {
  readonly #http: http.Agent;
  readonly #https: https.Agent;

  /** `proxies` as in `http_proxy`, `https_proxy` and `no_proxy`. */
  constructor(connections: number, proxies: Readonly<Record<string, string>>) {
    const options = { keepAlive: true, maxSockets: connections, proxyEnv: { ...proxies } };
    this.#http = new http.Agent(options);
    this.#https = new https.Agent(options);
  }

  [Symbol.dispose](): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  /** Resolves when the file holds exactly the bytes asked for, not yet synced. @throws TransferError */
  async transfer(transfer: Transfer): Promise<void> {
    const url = new URL(transfer.url);
    if (url.protocol === 'file:') {
      await receive(createReadStream(fileURLToPath(url)), transfer);
      return;
    }
    const response = await this.#get(url, transfer, MAX_REDIRECTS);
    const length = response.headers['content-length'];
    if (length !== undefined && Number(length) !== transfer.size) {
      response.destroy();
      throw new TransferError('damaged', `has ${length} bytes instead of ${transfer.size}`);
    }
    await receive(response, transfer);
  }

  /** A small file of unknown content, for who checks it otherwise. @throws TransferError */
  async read(address: string, { maxBytes, ...request }: ReadRequest): Promise<Buffer> {
    const url = new URL(address);
    const body =
      url.protocol === 'file:'
        ? createReadStream(fileURLToPath(url))
        : await this.#get(url, request, MAX_REDIRECTS);
    const chunks: Buffer[] = [];
    let received = 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        received += chunk.length;
        if (received > maxBytes) throw new TransferError('damaged', `has more than ${maxBytes} bytes`);
        request.signal.throwIfAborted();
        chunks.push(chunk);
      }
    } catch (error) {
      throw faultOf(error);
    } finally {
      body.destroy();
    }
    return Buffer.concat(chunks);
  }

  async #get(url: URL, transfer: Connection, redirects: number): Promise<http.IncomingMessage> {
    const response = await this.#request(url, transfer);
    const status = response.statusCode ?? 0;
    if (status === 200) return response;
    response.resume();
    const location = response.headers.location;
    if ([301, 302, 303, 307, 308].includes(status) && location !== undefined) {
      if (redirects === 0) throw new TransferError('refused', 'redirected too often');
      const next = URL.canParse(location, url.href) ? new URL(location, url.href) : undefined;
      if (next?.protocol !== 'https:' && next?.protocol !== url.protocol) {
        throw new TransferError('refused', 'redirected to where it may not go');
      }
      return this.#get(next, transfer, redirects - 1);
    }
    if (status === 404 || status === 410) throw new TransferError('gone', `answers ${status}`);
    const transient = status >= 500 || status === 408 || status === 425 || status === 429;
    throw new TransferError(transient ? 'transient' : 'refused', `answers ${status}`);
  }

  #request(url: URL, { signal, idleMs }: Connection): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      const [client, agent] = url.protocol === 'https:' ? [https, this.#https] : [http, this.#http];
      const headers = { 'user-agent': 'ingot', 'accept-encoding': 'identity' };
      let answer: http.IncomingMessage | undefined;
      const request = client.get(url, { agent, signal, headers, timeout: idleMs }, (response) => {
        answer = response;
        resolve(response);
      });
      request.on('timeout', () => {
        // Once an answer has begun, its reader and not the request must hear why it ends.
        (answer ?? request).destroy(new TransferError('transient', `sent nothing for ${idleMs / 1000} s`));
      });
      request.on('error', (error) => {
        reject(faultOf(error));
      });
    });
  }
}

/** Writes a stream to the file while hashing, never past the size that was asked for. */
async function receive(body: Readable, transfer: Transfer): Promise<void> {
  const hash = createHash('sha256');
  let received = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (received + chunk.length > transfer.size) {
        throw new TransferError('damaged', `has more than the ${transfer.size} bytes it should have`);
      }
      transfer.signal.throwIfAborted();
      hash.update(chunk);
      await writeAll(transfer.to, chunk, received);
      received += chunk.length;
      transfer.onBytes(chunk.length);
    }
  } catch (error) {
    throw faultOf(error);
  } finally {
    body.destroy();
  }
  if (received < transfer.size) {
    throw new TransferError('damaged', `ends after ${received} of ${transfer.size} bytes`);
  }
  if (hash.digest('hex') !== transfer.sha256) throw new TransferError('damaged', 'has another sha256');
}

async function writeAll(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  let written = 0;
  try {
    while (written < chunk.length) {
      const { bytesWritten } = await file.write(chunk, written, chunk.length - written, position + written);
      written += bytesWritten;
    }
  } catch (error) {
    if (isFull(error)) throw error;
    throw new IngotError('ENVIRONMENT', `the store cannot be written (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  }
}

function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ENOTFOUND: 'its name cannot be resolved',
  EAI_AGAIN: 'its name cannot be resolved',
  ETIMEDOUT: 'timed out',
  ENETUNREACH: 'network unreachable',
  EHOSTUNREACH: 'host unreachable',
};

/** Node's own messages name hosts and addresses: only the code is kept. An abort passes through. */
export function faultOf(error: unknown): Error {
  if (error instanceof TransferError || error instanceof IngotError) return error;
  if (error instanceof Error && error.name === 'AbortError') return error;
  if (isFull(error)) return new TransferError('disk', 'no space is left');
  const code = errnoOf(error) ?? 'failed';
  if (code === 'ENOENT') return new TransferError('gone', 'has no such file');
  if (code === 'EACCES' || code === 'EISDIR') return new TransferError('refused', code);
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/.test(code)) {
    return new TransferError('refused', 'its certificate is not trusted');
  }
  return new TransferError('transient', WORDS[code] ?? code);
}

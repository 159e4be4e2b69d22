/**
 * A key for minutes, with the certificate that Fulcio gives for it (github.com/sigstore/fulcio, fulcio.proto). Unlike
 * sigstore-js's own, it keeps the whole chain, without which hosts cannot verify, and asks once for all signatures of a
 * command. The token is a secret: no error quotes it.
 */
import type { Signer as SigstoreSigner } from '@sigstore/sign';
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';

import { ConnectionError, HttpClient, readBody } from '../oci/registry/http.ts';

export interface FulcioSignature {
  /** ECDSA over SHA-256, in DER. */
  readonly signature: Buffer;
  /** In PEM. */
  readonly certificate: string;
  /** Of the authorities above it, the root last; in PEM. */
  readonly chain: string;
}

export interface FulcioOptions {
  readonly url: string;
  readonly token: string;
  /** What the token calls who it is for: signing it proves that the key is ours. */
  readonly proven: string;
  readonly proxies?: Readonly<Record<string, string>> | undefined;
}

/** What the authority said, or that it said nothing. */
export class FulcioError extends Error {
  readonly statusCode: number | undefined;

  constructor(message: string, statusCode?: number) {
    super(message);
    this.statusCode = statusCode;
  }
}

interface Certified {
  readonly certificate: string;
  readonly chain: string;
  /** Milliseconds since 1970. */
  readonly until: number;
}

const Chain = z.object({ chain: z.object({ certificates: z.array(z.string()).min(1) }) });
const Answer = z.union([
  z.object({ signedCertificateEmbeddedSct: Chain }).transform((one) => one.signedCertificateEmbeddedSct),
  z.object({ signedCertificateDetachedSct: Chain }).transform((one) => one.signedCertificateDetachedSct),
]);
const Refusal = z.object({ message: z.string() });

const MAX_ANSWER = 1024 * 1024;
const TIMEOUT_MS = 30_000;
const TRIES = 3;
/** A certificate must still be good when the log is told. */
const SPARE_MS = 60_000;

export class FulcioSigner implements SigstoreSigner {
  readonly #options: FulcioOptions;
  readonly #pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  #certified: Promise<Certified> | undefined;

  constructor(options: FulcioOptions) {
    this.#options = options;
  }

  /** For what sigstore-js makes of it. */
  async sign(data: Buffer): ReturnType<SigstoreSigner['sign']> {
    const { signature, certificate } = await this.signCertified(data);
    return { signature, key: { $case: 'x509Certificate', certificate } };
  }

  /** @throws FulcioError */
  async signCertified(data: Buffer): Promise<FulcioSignature> {
    let certified = await this.#certified?.catch(() => undefined);
    if (certified === undefined || certified.until < Date.now() + SPARE_MS) {
      this.#certified = this.#ask();
      certified = await this.#certified;
    }
    const { certificate, chain } = certified;
    return { signature: sign('sha256', data, this.#pair.privateKey), certificate, chain };
  }

  async #ask(): Promise<Certified> {
    const { url, token, proven, proxies } = this.#options;
    const body = Buffer.from(
      JSON.stringify({
        credentials: { oidcIdentityToken: token },
        publicKeyRequest: {
          publicKey: {
            algorithm: 'ECDSA',
            content: this.#pair.publicKey.export({ type: 'spki', format: 'pem' }),
          },
          proofOfPossession: sign('sha256', Buffer.from(proven), this.#pair.privateKey).toString('base64'),
        },
      }),
    );
    await using http = new HttpClient({ tlsOf: () => Promise.resolve({}), proxies, idleMs: TIMEOUT_MS });
    for (let attempt = 1; ; attempt += 1) {
      try {
        return parseCertified(
          await post(http, new URL(`${url.replace(/\/$/, '')}/api/v2/signingCert`), body),
        );
      } catch (error) {
        if (!(error instanceof FulcioError)) throw error;
        const isTransient =
          error.statusCode === undefined || error.statusCode >= 500 || [408, 429].includes(error.statusCode);
        if (!isTransient || attempt >= TRIES) throw error;
        await sleep(attempt * 500);
      }
    }
  }
}

async function post(http: HttpClient, url: URL, body: Buffer): Promise<unknown> {
  let status: number;
  let text: string;
  try {
    const response = await http.send({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: { length: body.length, chunks: () => [body] },
    });
    status = response.status;
    text = (await readBody(response, MAX_ANSWER)).toString();
  } catch (error) {
    if (error instanceof ConnectionError) throw new FulcioError(error.message);
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (status === 200 || status === 201) return value;
  throw new FulcioError(Refusal.safeParse(value).data?.message ?? 'no reason', status);
}

function parseCertified(value: unknown): Certified {
  const [certificate = '', ...above] = Answer.safeParse(value).data?.chain.certificates ?? [];
  try {
    const until = new X509Certificate(certificate).validToDate.getTime();
    return { certificate: ended(certificate), chain: above.map(ended).join(''), until };
  } catch {
    throw new FulcioError('what it gave is no certificate', 200);
  }
}

function ended(pem: string): string {
  return `${pem.trim()}\n`;
}

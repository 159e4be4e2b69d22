/**
 * Sigstore on loopback: Fulcio, its certificate log, Rekor and a timestamp authority, by sigstore-js's own mock, behind
 * real HTTP; and the trusted root that fits them. Tokens are taken unread, as no provider is there to vouch.
 */
import {
  fulcioHandler,
  type HandlerFn,
  initializeCA,
  initializeCTLog,
  initializeTLog,
  initializeTSA,
  tsaHandler,
} from '@sigstore/mock';
import { createHash, generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';

export interface TestSigstore extends AsyncDisposable {
  readonly url: string;
  /** As `cosign trusted-root create` writes it. */
  readonly trustedRoot: TrustedRootJson;
}

export interface TrustedRootJson {
  readonly mediaType: string;
  readonly certificateAuthorities: readonly object[];
  readonly timestampAuthorities: readonly object[];
  readonly tlogs: readonly object[];
  readonly ctlogs: readonly object[];
}

export interface SigstoreOptions {
  /** When certificates and entries say that they were made. Default: now. */
  readonly certificatesAt?: Date;
  readonly entriesAt?: Date;
  /** Leaves the certificate log out of certificates. */
  readonly withoutCtLog?: boolean;
}

callAddressesEmail();

const ENTRIES = '/api/v1/log/entries';

const pair = (): KeyPairKeyObjectResult => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });

export async function startSigstore(options: SigstoreOptions = {}): Promise<TestSigstore> {
  const { certificatesAt, entriesAt, withoutCtLog = false } = options;
  const ctLog = await initializeCTLog(pair(), certificatesAt);
  const ca = await initializeCA(pair(), withoutCtLog ? undefined : ctLog, certificatesAt);
  // It writes fractions of a second in a form that ends in nothing when they end in 0.
  const clock = new Date();
  const setClock = (): number =>
    clock.setTime(Math.floor((entriesAt?.getTime() ?? Date.now()) / 1000) * 1000);
  setClock();
  const tsa = await initializeTSA(pair(), clock);
  const tlog = await initializeTLog('https://log.test', pair(), entriesAt);
  const rekor: HandlerFn = async (body) => {
    const entry: unknown = await tlog.log(canonicalEntry(JSON.parse(body) as ProposedEntry));
    return { statusCode: 201, response: JSON.stringify(entry), contentType: 'application/json' };
  };
  const fulcio = fulcioHandler(ca);
  const time = tsaHandler(tsa);
  const handlers = new Map<string, HandlerFn>([
    // Fulcio answers 200, the mock 201, which sigstore-go refuses.
    [fulcio.path, async (body) => ({ ...(await fulcio.fn(body)), statusCode: 200 })],
    [time.path, (body) => (setClock(), time.fn(body))],
    [ENTRIES, rekor],
  ]);
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const handler = handlers.get(request.url ?? '');
      const answer = await handler?.(withToken(Buffer.concat(chunks).toString(), request));
      const body = answer === undefined ? '' : bytesOf(answer.response);
      response.writeHead(answer?.statusCode ?? 404, {
        'content-type': answer?.contentType ?? 'text/plain',
        // Go's client finds the entry in the answer by this.
        ...(request.url === ENTRIES && { etag: /^\{"([0-9a-f]+)"/.exec(String(body))?.[1] ?? '' }),
      });
      response.end(body);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const chain = (...certificates: readonly ArrayBufferView[]): object => ({
    certificates: certificates.map((one) => ({ rawBytes: base64(one) })),
  });
  const validFor = { start: '2020-01-01T00:00:00Z' };
  const subject = { organization: 'sigstore.mock', commonName: 'sigstore' };
  const log = (key: Buffer): object => ({
    baseUrl: 'https://log.test',
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: key.toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor },
    logId: { keyId: createHash('sha256').update(key).digest('base64') },
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    trustedRoot: {
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      certificateAuthorities: [
        { subject, uri: 'https://fulcio.test', certChain: chain(ca.rootCertificate), validFor },
      ],
      timestampAuthorities: [
        { subject, certChain: chain(tsa.intCertificate, tsa.rootCertificate), validFor },
      ],
      tlogs: [log(tlog.publicKey)],
      ctlogs: [log(ctLog.publicKey)],
    },
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

/** The mock calls every subject a URI. Fulcio calls an address an email, and hosts know no other subject. */
function callAddressesEmail(): void {
  const require = createRequire(createRequire(import.meta.url).resolve('@sigstore/mock'));
  const { SubjectAlternativeNameExtension: Names, X509CertificateGenerator: Generator } =
    require('@peculiar/x509') as X509;
  const create = Generator.create.bind(Generator);
  Generator.create = (tbs, crypto) => {
    const extensions = tbs.extensions.map((one) => {
      const [name] = one instanceof Names ? one.names.items : [];
      return name !== undefined && /^[^/:]+@[^/]+$/.test(name.value)
        ? new Names([{ type: 'email', value: name.value }], true)
        : one;
    });
    return create({ ...tbs, extensions }, crypto);
  };
}

interface X509 {
  readonly SubjectAlternativeNameExtension: new (
    names: readonly { readonly type: string; readonly value: string }[],
    critical: boolean,
  ) => { readonly names: { readonly items: readonly { readonly value: string }[] } };
  readonly X509CertificateGenerator: {
    create: (tbs: { readonly extensions: readonly unknown[] }, crypto: unknown) => unknown;
  };
}

/** A token that says who one is; signed by nobody. */
export function tokenFor(claims: Readonly<Record<string, string | boolean>>): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return [part({ alg: 'none' }), part({ aud: 'sigstore', ...claims }), 'signature'].join('.');
}

/** sigstore-go sends the token as a header, where the mock looks for it in the body. */
function withToken(body: string, { headers }: IncomingMessage): string {
  const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
  if (token === undefined) return body;
  return JSON.stringify({ ...(JSON.parse(body) as object), credentials: { oidcIdentityToken: token } });
}

interface ProposedEntry {
  readonly kind: string;
  readonly spec: {
    readonly proposedContent?: { readonly envelope: string; readonly verifiers: readonly string[] };
  };
}

/** What Rekor makes of a proposed `dsse` entry; others it logs as they are (rekor, pkg/types/dsse/v0.0.1). */
function canonicalEntry(entry: ProposedEntry): object {
  const { proposedContent } = entry.spec;
  if (proposedContent === undefined) return entry;
  const { envelope, verifiers } = proposedContent;
  const { payload, signatures } = JSON.parse(envelope) as {
    readonly payload: string;
    readonly signatures: readonly { readonly sig: string }[];
  };
  const hash = (value: string | Buffer): object => ({
    algorithm: 'sha256',
    value: createHash('sha256').update(value).digest('hex'),
  });
  return {
    apiVersion: '0.0.1',
    kind: 'dsse',
    spec: {
      envelopeHash: hash(envelope),
      payloadHash: hash(Buffer.from(payload, 'base64')),
      signatures: signatures.map(({ sig }, index) => ({ signature: sig, verifier: verifiers[index] })),
    },
  };
}

function bytesOf(response: string | ArrayBufferView): Buffer | string {
  return typeof response === 'string'
    ? response
    : Buffer.from(response.buffer, response.byteOffset, response.byteLength);
}

function base64(view: ArrayBufferView): string {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('base64');
}

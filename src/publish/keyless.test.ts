import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  startSigstore,
  type SigstoreOptions,
  type TestSigstore,
  tokenFor,
} from '../../test/support/sigstore.ts';
import { keylessSigner } from './keyless-signer.ts';
import { signBundle, verifyBundle } from '../trust/bundle.ts';
import { digestOf } from '../digest.ts';
import type { TrustedIdentity } from '../spec/update-schema.ts';
import { isRootAlive, parseTrustedRoot, verifyKeyless } from '../trust/keyless.ts';
import type { CertifiedSignature } from '../trust/certified-signature.ts';
import { type SimpleSignature, signSimply, verifySimply } from '../trust/simple-signing.ts';
import { COSIGN_SIGN } from '../trust/statement.ts';

const SUBJECT = 'https://ci.example.com/node/release@refs/heads/main';
const signer: TrustedIdentity = { issuer: 'https://issuer.example.com', subject: SUBJECT };
const subject = { digest: digestOf('an image'), repository: 'registry.example.com/ai/node' };

interface Json {
  verificationMaterial: {
    certificate?: { rawBytes: string };
    tlogEntries: {
      inclusionPromise?: { signedEntryTimestamp: string };
      inclusionProof?: { hashes?: string[]; checkpoint: { envelope: string } };
      integratedTime: string;
      canonicalizedBody: string;
    }[];
    timestampVerificationData?: { rfc3161Timestamps: { signedTimestamp: string }[] };
  };
  dsseEnvelope: { payload: string; signatures: { sig: string }[] };
}

const opened: TestSigstore[] = [];
let sigstore: TestSigstore;
let bundle: Json;
beforeAll(async () => {
  sigstore = await start();
  bundle = await sign(sigstore);
});
afterAll(async () => {
  for (const one of opened) await one[Symbol.asyncDispose]();
});

async function start(options?: SigstoreOptions): Promise<TestSigstore> {
  const started = await startSigstore(options);
  opened.push(started);
  return started;
}

async function sign({ url }: TestSigstore, withLog = true, of = subject): Promise<Json> {
  const token = tokenFor({ iss: 'https://issuer.example.com', sub: SUBJECT });
  const by = keylessSigner({ token, fulcioUrl: url, rekorUrl: withLog ? url : undefined, tsaUrl: url });
  return JSON.parse((await signBundle(of, COSIGN_SIGN, {}, by)).bytes.toString()) as Json;
}

/** Why it is refused, or who signed it. */
function verdict(value: unknown, root: object = sigstore.trustedRoot, identities = [signer]): string {
  const trust = { identities, root: parseTrustedRoot(JSON.stringify(root), 'root.json') };
  const keyless = (parsed: unknown): ReturnType<typeof verifyKeyless> => verifyKeyless(parsed, trust);
  const checked = verifyBundle(Buffer.from(JSON.stringify(value)), subject, COSIGN_SIGN, {
    keys: [],
    keyless,
  });
  return 'refusal' in checked
    ? `${checked.refusal.reason}: ${checked.refusal.message}`
    : (checked.value.certificate?.subject ?? '');
}

/** A copy that is other in one place. */
function changed(change: (copy: Json) => void): Json {
  const copy = structuredClone(bundle);
  change(copy);
  return copy;
}

const flipped = (base64: string): string => {
  const bytes = Buffer.from(base64, 'base64');
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes.toString('base64');
};

test('what an identity signed is told with who it was', () => {
  expect(verdict(bundle)).toBe(SUBJECT);
  const matching = { issuer: signer.issuer, subjectRegexp: 'https://ci\\.example\\.com/.*' };
  expect(verdict(bundle, undefined, [matching])).toBe(SUBJECT);
});

test.each<[string, TrustedIdentity]>([
  ['issuer', { issuer: 'https://other.example.com', subject: SUBJECT }],
  ['subject', { issuer: signer.issuer, subject: `${SUBJECT}2` }],
  ['part of the subject', { issuer: signer.issuer, subjectRegexp: 'https://ci\\.example\\.com' }],
])('another %s is not trusted', (_name, identity) => {
  expect(verdict(bundle, undefined, [identity])).toContain('identity: it is signed by');
});

describe('a bundle does not count', () => {
  test.each<[string, (copy: Json) => void, RegExp]>([
    [
      'with another payload',
      (one) => (one.dsseEnvelope.payload = Buffer.from('{}').toString('base64')),
      /^certificate/,
    ],
    [
      'with another signature',
      ({ dsseEnvelope: { signatures } }) => {
        const [first] = signatures;
        if (first !== undefined) first.sig = flipped(first.sig);
      },
      /^certificate/,
    ],
    [
      'with two signatures',
      ({ dsseEnvelope: { signatures } }) => signatures.push(...signatures),
      /^signature-count/,
    ],
    [
      'with no entry in the log',
      ({ verificationMaterial: material }) => (material.tlogEntries = []),
      /log|tlog/,
    ],
    [
      'with a damaged certificate',
      ({ verificationMaterial: { certificate } }) => {
        if (certificate !== undefined) certificate.rawBytes = flipped(certificate.rawBytes);
      },
      /^certificate: its certificate does not count/,
    ],
    [
      'with half a certificate',
      ({ verificationMaterial: { certificate } }) => {
        if (certificate !== undefined) certificate.rawBytes = certificate.rawBytes.slice(0, 80);
      },
      /^malformed/,
    ],
    [
      'with a promise of the log’s that is wrong',
      ({
        verificationMaterial: {
          tlogEntries: [entry],
        },
      }) => {
        if (entry?.inclusionPromise)
          entry.inclusionPromise.signedEntryTimestamp = flipped(entry.inclusionPromise.signedEntryTimestamp);
      },
      /^certificate: the log did not promise/,
    ],
    [
      'with another time than the log promised',
      ({
        verificationMaterial: {
          tlogEntries: [entry],
        },
      }) => {
        if (entry) entry.integratedTime = String(Number(entry.integratedTime) + 1);
      },
      /^certificate: the log did not promise/,
    ],
    [
      'with a proof of inclusion that is wrong',
      ({
        verificationMaterial: {
          tlogEntries: [entry],
        },
      }) => {
        if (entry?.inclusionProof) entry.inclusionProof.hashes = [Buffer.alloc(32).toString('base64')];
      },
      /^certificate: it is not in the log/,
    ],
    [
      'with a checkpoint that the log did not sign',
      ({
        verificationMaterial: {
          tlogEntries: [entry],
        },
      }) => {
        const { checkpoint } = entry?.inclusionProof ?? {};
        if (checkpoint) checkpoint.envelope = checkpoint.envelope.replace('\n1\n', '\n2\n');
      },
      /^certificate/,
    ],
    [
      'with neither promise nor proof',
      ({
        verificationMaterial: {
          tlogEntries: [entry],
        },
      }) => {
        delete entry?.inclusionPromise;
        delete entry?.inclusionProof;
      },
      /^certificate|^malformed/,
    ],
    [
      'with a damaged timestamp',
      ({ verificationMaterial: { timestampVerificationData: data } }) => {
        const [first] = data?.rfc3161Timestamps ?? [];
        if (first !== undefined) first.signedTimestamp = flipped(first.signedTimestamp);
      },
      /^certificate|^malformed/,
    ],
  ])('%s', (_name, change, why) => {
    expect(verdict(changed(change))).toMatch(why);
  });

  test('with the log’s entry of another signature', async () => {
    const other = await sign(sigstore, true, { ...subject, digest: digestOf('another') });
    const mixed = changed(
      (one) => (one.verificationMaterial.tlogEntries = other.verificationMaterial.tlogEntries),
    );
    expect(verdict(mixed)).toMatch(/^certificate: its entry in the log is of something else/);
    expect(verdict(other)).toMatch(/^digest/);
  });

  test('with a certificate that was over when it was used', async () => {
    const late = await start({ certificatesAt: new Date(Date.now() - 3_600_000) });
    expect(verdict(await sign(late), late.trustedRoot)).toMatch(
      /^certificate: its certificate does not count/,
    );
  });

  test('with a certificate that no log has', async () => {
    const silent = await start({ withoutCtLog: true });
    expect(verdict(await sign(silent), silent.trustedRoot)).toMatch(/SCT/);
  });

  test.each(['certificateAuthorities', 'tlogs', 'ctlogs', 'timestampAuthorities'] as const)(
    'when its %s are another’s',
    async (part) => {
      const other = await start();
      const root = { ...sigstore.trustedRoot, [part]: other.trustedRoot[part] };
      expect(verdict(bundle, root)).toMatch(/^certificate/);
    },
  );

  test('when no identity is trusted', () => {
    const bytes = Buffer.from(JSON.stringify(bundle));
    expect(verifyBundle(bytes, subject, COSIGN_SIGN, { keys: [] })).toMatchObject({
      refusal: { reason: 'keyless' },
    });
  });
});

describe('of the older form', () => {
  const EMAIL = 'builder@example.com';
  const identity = 'registry.example.com/ai/node:1.0';
  const by = (claims = { sub: SUBJECT }): ReturnType<typeof keylessSigner> =>
    keylessSigner({
      token: tokenFor({ iss: signer.issuer, ...claims }),
      ...{ fulcioUrl: sigstore.url, rekorUrl: sigstore.url, tsaUrl: undefined },
    });
  let stored: SimpleSignature & { readonly certified: CertifiedSignature };
  beforeAll(async () => {
    stored = (await signSimply(subject.digest, identity, by())) as typeof stored;
  });

  function told(
    signature: SimpleSignature,
    {
      identities = [signer],
      repository = subject.repository,
    }: { identities?: TrustedIdentity[]; repository?: string } = {},
  ): string {
    const root = parseTrustedRoot(JSON.stringify(sigstore.trustedRoot), 'root.json');
    const checked = verifySimply(signature, subject.digest, repository, {
      keys: [],
      keyless: (parsed, payload) => verifyKeyless(parsed, { identities, root }, payload),
    });
    return 'refusal' in checked
      ? `${checked.refusal.reason}: ${checked.refusal.message}`
      : (checked.value.certificate?.subject ?? '');
  }

  test('a signature counts, by URIs and by addresses', async () => {
    expect(told(stored)).toBe(SUBJECT);
    const email = await signSimply(subject.digest, identity, by({ sub: EMAIL }));
    const trusted = { issuer: signer.issuer, subject: EMAIL };
    expect(told(email ?? stored, { identities: [trusted] })).toBe(EMAIL);
    expect(told(email ?? stored)).toMatch(/^identity/);
    expect(told(stored, { repository: 'registry.example.com/other' })).toMatch(/^repository/);
    expect(stored.certified.chain).toMatch(/^-----BEGIN CERTIFICATE-----\n/);
  });

  test('one certificate is enough for all signatures of a command', async () => {
    const one = by();
    const [first, second] = [
      await signSimply(subject.digest, identity, one),
      await signSimply(subject.digest, `${identity}.1`, one),
    ];
    expect(first?.certified?.certificate).toBe(second?.certified?.certificate);
    expect(told(second ?? stored)).toBe(SUBJECT);
  });

  test('there is none where no log says when', async () => {
    const token = tokenFor({ iss: signer.issuer, sub: SUBJECT });
    const { url } = sigstore;
    const timed = keylessSigner({ token, fulcioUrl: url, rekorUrl: undefined, tsaUrl: url });
    expect(await signSimply(subject.digest, identity, timed)).toBeUndefined();
  });

  const entry = (
    change: (value: { SignedEntryTimestamp: string; Payload: Record<string, unknown> }) => void,
  ): string => {
    const value = JSON.parse(stored.certified.logEntry) as {
      SignedEntryTimestamp: string;
      Payload: Record<string, unknown>;
    };
    change(value);
    return JSON.stringify(value);
  };
  test.each<[string, () => Partial<CertifiedSignature>, RegExp]>([
    [
      'another time',
      () => ({
        logEntry: entry(({ Payload }) => (Payload['integratedTime'] = Number(Payload['integratedTime']) + 1)),
      }),
      /^certificate/,
    ],
    [
      'another promise',
      () => ({
        logEntry: entry((value) => (value.SignedEntryTimestamp = flipped(value.SignedEntryTimestamp))),
      }),
      /^certificate/,
    ],
    ['an entry that is none', () => ({ logEntry: '{}' }), /^malformed/],
    ['half an entry', () => ({ logEntry: stored.certified.logEntry.slice(0, 90) }), /^malformed/],
    ['no certificate', () => ({ certificate: 'x' }), /^malformed/],
    ['another signature', () => ({ signature: flipped(stored.signature) }), /^certificate/],
    ['another certificate', () => ({ certificate: stored.certified.chain }), /^certificate|^malformed/],
  ])('%s does not count', (_name, change, why) => {
    expect(told({ ...stored, certified: { ...stored.certified, ...change() } })).toMatch(why);
  });

  test('another payload does not count, nor any where keys alone are trusted', () => {
    const payload = Buffer.from(stored.payload.toString().replace('ai/node', 'ai/evil'));
    expect(told({ ...stored, payload })).toMatch(/^certificate/);
    expect(verifySimply(stored, subject.digest, undefined, { keys: [] })).toMatchObject({
      refusal: { reason: 'keyless' },
    });
  });
});

describe('a trusted root', () => {
  test.each(['', '{}', '[]', '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'])(
    'is not %s',
    (text) => {
      expect(() => parseTrustedRoot(text, 'root.json')).toThrow(/root\.json/);
    },
  );

  test('is over when its authorities are', () => {
    const { trustedRoot } = sigstore;
    const read = (root: object): ReturnType<typeof parseTrustedRoot> =>
      parseTrustedRoot(JSON.stringify(root), 'x');
    expect(isRootAlive(read(trustedRoot), new Date())).toBe(true);
    expect(isRootAlive(read(trustedRoot), new Date('2100-01-01'))).toBe(false);
    const ended = trustedRoot.certificateAuthorities.map((authority) => ({
      ...authority,
      validFor: { start: '2020-01-01T00:00:00Z', end: '2021-01-01T00:00:00Z' },
    }));
    expect(isRootAlive(read({ ...trustedRoot, certificateAuthorities: ended }), new Date())).toBe(false);
  });
});

describe('signing', () => {
  test('says which authority gave nothing, and nothing of the token', async () => {
    const token = tokenFor({ iss: 'https://issuer.example.com', sub: SUBJECT });
    const nowhere = keylessSigner({
      token,
      fulcioUrl: `${sigstore.url}/none`,
      rekorUrl: undefined,
      tsaUrl: undefined,
    });
    const failed: unknown = await nowhere
      .signStatement(Buffer.from('{}'), 'x')
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 'SIGNING_FAILED' });
    expect(String(failed)).toContain('certificate authority at http://127.0.0.1');
    expect(String(failed)).not.toContain(token.split('.')[1]);
    for (const wrong of ['secret', 'a.b.c', 'e30.e30.x']) {
      expect(() =>
        keylessSigner({ token: wrong, fulcioUrl: '', rekorUrl: undefined, tsaUrl: undefined }),
      ).toThrow('the identity token is no token');
    }
  });
});

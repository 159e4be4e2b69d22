import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';

import { startSigstore } from '../../test/support/sigstore.ts';
import { FindingsError, IngotError } from '../errors.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { parseSpec } from '../spec/parse.ts';
import { hostPolicyFiles } from './host-policy.ts';
import { parseTrustPolicy } from './policy.ts';
import { updatePolicyReader } from './update-policy.ts';

const spki = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = (): string => spki(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
const REPOSITORY = 'registry.example.com/ai/node';
const files: Readonly<Record<string, string>> = {
  'project/old.pub': spki(pair.publicKey),
  'project/new.pub': pem(),
  'project/other.pub': pem(),
  'project/node.key': pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  'project/rsa.pub': spki(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey),
  'project/notes.txt': 'not a key',
};

const readKey = (path: string): Promise<string> =>
  files[path] === undefined
    ? Promise.reject(new IngotError('USAGE', `the key ${path} cannot be read (ENOENT)`))
    : Promise.resolve(files[path]);

/** @param update in YAML flow style; it is on line 3 */
async function declare(
  update: string,
  trust?: string,
  now = Date.now(),
  base = 'debian@13',
): Promise<{ image: NodeImage; warnings: string[] }> {
  const { image, warnings } = await parseSpec(
    `name: node\nbase: ${base}\nupdate: ${update}\n`,
    'project/node.yaml',
    {
      readPolicy: updatePolicyReader({
        now: () => new Date(now),
        readKey,
        project: async () =>
          trust === undefined ? undefined : parseTrustPolicy(trust, 'project/trust.yaml', { readKey }),
      }),
    },
  );
  return { image, warnings: warnings.map(({ message }) => message) };
}

async function problems(
  update: string,
  trust?: string,
  now?: number,
  base?: string,
): Promise<readonly string[]> {
  const error: unknown = await declare(update, trust, now, base).catch((caught: unknown) => caught);
  if (!(error instanceof FindingsError)) throw new Error('it is taken', { cause: error });
  return error.findings.map(
    ({ code, location, message }) =>
      `${location?.file ?? ''}:${location?.line ?? 0}:${location?.column ?? 0} ${code} ${message}`,
  );
}

const source = `source: '${REPOSITORY}:stable'`;
const rule = (text: string): string => `repositories:\n  ${REPOSITORY}: ${text}\n`;

describe('what an image takes as its next one', () => {
  test('is what `verify` says, and everything else is refused', async () => {
    const { image, warnings } = await declare(`{${source}, verify: {key: old.pub}}`);
    expect(warnings).toEqual([]);
    expect(image.update).toEqual({
      source: `${REPOSITORY}:stable`,
      policy: { default: 'reject', repositories: { [REPOSITORY]: { keys: [files['project/old.pub']] } } },
    });
    expect(JSON.stringify(hostPolicyFiles(image.update ?? { source: '' }))).not.toContain('insecure');
  });

  test('is what trust.yaml says, with all its other rules', async () => {
    const trust = `${rule('{keys: [old.pub, new.pub], attestations: [spdxjson]}')}  example.com/any/*: accept\n`;
    const { image } = await declare(`{${source}}`, trust);
    expect(image.update?.policy).toEqual({
      default: 'reject',
      repositories: {
        [REPOSITORY]: {
          keys: [files['project/old.pub'], files['project/new.pub']],
          attestations: ['https://spdx.dev/Document'],
        },
        'example.com/any/*': 'accept',
      },
    });
  });

  test('has `verify` in the place of trust.yaml’s rule', async () => {
    const { image } = await declare(
      `{${source}, verify: {keys: [old.pub, new.pub]}}`,
      rule('{keys: [old.pub]}'),
    );
    expect(image.update?.policy?.repositories).toEqual({
      [REPOSITORY]: { keys: [files['project/old.pub'], files['project/new.pub']] },
    });
  });

  test('is left to its packages, with a word, where nothing says a key', async () => {
    const { image, warnings } = await declare(`{${source}}`);
    expect(image.update).toEqual({ source: `${REPOSITORY}:stable` });
    expect(hostPolicyFiles(image.update ?? { source: '' }).map(({ path }) => path)).toEqual([
      '/usr/lib/ingot/update.json',
    ]);
    expect(warnings).toEqual([expect.stringContaining('nothing says who must sign')]);
    const patient = await declare(`{${source}, tries: 5}`);
    expect(JSON.parse(hostPolicyFiles(patient.image.update ?? { source: '' })[0]?.content ?? '')).toEqual({
      source: `${REPOSITORY}:stable`,
      tries: 5,
    });
    const accepted = await declare(`{${source}}`, rule('accept'));
    expect(accepted.warnings).toEqual([expect.stringContaining('without a signature')]);
  });

  test('changes with a key’s bytes, not with its name', async () => {
    const one = await declare(`{${source}, verify: {key: old.pub}}`);
    const same = await declare(
      `{${source}, verify: {keys: ['${files['project/old.pub']?.replaceAll('\n', '\n\n ') ?? ''}']}}`,
    );
    expect(same.image).toEqual(one.image);
    const other = await declare(`{${source}, verify: {key: new.pub}}`);
    expect(other.image).not.toEqual(one.image);
  });
});

describe('keys that are none', () => {
  test('are all told, each at its place', async () => {
    const keys = '[gone.pub, node.key, rsa.pub, notes.txt]';
    expect(await problems(`{${source}, verify: {keys: ${keys}}, signer: node.key}`)).toEqual([
      'project/node.yaml:3:73 SPEC_INVALID the key project/gone.pub cannot be read (ENOENT)',
      'project/node.yaml:3:83 SPEC_INVALID node.key is a private key, and verifying takes the public one',
      expect.stringContaining('3:93 SPEC_INVALID rsa.pub is a key of the kind rsa'),
      'project/node.yaml:3:102 SPEC_INVALID notes.txt is no public key in PEM',
      expect.stringContaining('SPEC_INVALID node.key is a private key'),
    ]);
  });

  test('are told beside other mistakes, and those of trust.yaml', async () => {
    const found = await problems(
      `{${source}, verify: {key: gone.pub}}\nhostname: localhost`,
      rule('{keys: [gone.pub]}'),
    );
    expect(found.map((line) => line.split(' ', 2).join(' ')).sort()).toEqual([
      'project/node.yaml:3:71 SPEC_INVALID',
      'project/node.yaml:4:11 SPEC_INVALID',
      'project/trust.yaml:2:41 TRUST_INVALID',
    ]);
  });

  test.each([
    ['neither', '{}', 'update.verify'],
    ['twice', '{key: old.pub, keys: [new.pub]}', 'update.verify'],
    ['without a root', '{identities: [{issuer: a, subject: b}]}', 'trustedRoot'],
    ['a root alone', '{key: old.pub, trustedRoot: root.json}', 'trustedRoot'],
    ['no list', '{keys: []}', 'update.verify.keys'],
    ['unknown', '{keyz: old.pub}', 'keyz'],
  ])('%s', async (_name, verify, where) => {
    expect((await problems(`{${source}, verify: ${verify}}`)).join()).toContain(where);
  });

  test.each(['node', 'registry.example.com/ai/node', `${REPOSITORY}@sha256:${'0'.repeat(64)}`, 'oci:dir:1'])(
    'nor is %s a source',
    async (text) => {
      expect((await problems(`{source: '${text}'}`)).join()).toContain('a tag in a repository');
    },
  );
});

describe('an image that would lock its nodes out', () => {
  const verify = 'verify: {key: old.pub}';

  test('does not know the key of who signs the next', async () => {
    expect(await problems(`{${source}, ${verify}, signer: new.pub}`)).toEqual([
      expect.stringMatching(
        /^project\/node\.yaml:3:\d+ UPDATE_LOCKOUT nodes would refuse what the key [0-9a-f]{12} signs/,
      ),
    ]);
    // While keys change, both are there.
    await declare(`{${source}, verify: {keys: [old.pub, new.pub]}, signer: new.pub}`);
  });

  test('does not know a key that trust.yaml lets sign', async () => {
    const trust = rule('{keys: [old.pub, new.pub]}');
    expect(await problems(`{${source}, ${verify}}`, trust)).toEqual([
      expect.stringContaining('project/trust.yaml:2 lets the key'),
    ]);
    await declare(`{${source}, ${verify}, signer: old.pub}`, trust);
    expect(await problems(`{${source}, signer: other.pub}`, trust)).toEqual([
      expect.stringContaining('project/trust.yaml:2 has'),
    ]);
  });

  test('has a signer whom the project itself refuses', async () => {
    const both = `{${source}, verify: {keys: [old.pub, new.pub]}, signer: new.pub}`;
    expect(await problems(both, rule('{keys: [old.pub]}'))).toEqual([
      expect.stringContaining('could not be published: project/trust.yaml:2'),
    ]);
  });

  test('follows what trust.yaml refuses', async () => {
    for (const trust of [
      rule('reject'),
      'default: reject\n',
      'repositories: {registry.example.com/*: reject}\n',
    ]) {
      expect(await problems(`{${source}}`, trust)).toEqual([expect.stringContaining('UPDATE_LOCKOUT')]);
    }
    expect(await problems(`{${source}, ${verify}}`, rule('reject'))).toEqual([
      expect.stringContaining('UPDATE_LOCKOUT'),
    ]);
    await declare(`{${source}, ${verify}}`, 'default: reject\n');
  });

  test('wants signatures for another repository than the project', async () => {
    const own = `{${source}, verify: {key: old.pub, signedAs: example.com/other}}`;
    expect(await problems(own, rule('{keys: [old.pub]}'))).toEqual([
      expect.stringContaining('UPDATE_LOCKOUT nodes want signatures for example.com/other'),
    ]);
  });

  test('trusts identities that podman and bootc cannot verify, or authorities that are over', async () => {
    await using sigstore = await startSigstore();
    (files as Record<string, string>)['project/root.json'] = JSON.stringify(sigstore.trustedRoot);
    const trusting = (...subjects: readonly string[]): string =>
      `identities: [${subjects.map((one) => `{issuer: https://issuer.example.com, ${one}}`).join()}], trustedRoot: root.json`;
    const identity = trusting('subject: ops@example.com');
    const base = '{image: quay.io/fedora/fedora-bootc:42}';
    for (const beyond of [
      trusting("subject: 'https://github.com/a/b/.github/workflows/c.yml@refs/heads/main'"),
      trusting("subjectRegexp: '.*@example.com'"),
      trusting('subject: ops@example.com', 'subject: dev@example.com'),
    ]) {
      expect(await problems(`{${source}, verify: {${beyond}}}`)).toEqual([
        expect.stringMatching(/UPDATE_LOCKOUT project\/node\.yaml:3 trusts identities .* one email address/),
      ]);
      expect(await problems(`{${source}}`, rule(`{${beyond}}`))).toHaveLength(1);
      // Ingot on the node can; a base that updates itself cannot.
      const own = await declare(`{${source}, verify: {${beyond}}}\nagent: true`);
      expect(own.warnings).toContainEqual(expect.stringContaining('only `ingot node upgrade`'));
      expect(
        await problems(`{${source}, verify: {${beyond}}}\nagent: true`, undefined, undefined, base),
      ).toContainEqual(expect.stringContaining('UPDATE_LOCKOUT'));
    }
    const both = rule(`{keys: [old.pub], ${identity}}`);
    const { image, warnings } = await declare(`{${source}}\nagent: true`, both);
    expect(warnings).toEqual([]);
    const bootc = await declare(`{${source}}\nagent: true`, both, undefined, base);
    expect(bootc.warnings).toContainEqual(expect.stringContaining('take what the keys sign alone'));
    const made = hostPolicyFiles(image.update ?? { source: '' });
    const root = made.find(({ path }) => path.endsWith('.trusted-root.json'));
    expect(root?.content).toBe(files['project/root.json']);
    const text = made.find(({ path }) => path.endsWith('trust.yaml'))?.content ?? '';
    // What is in the image says the same.
    const again = await parseTrustPolicy(text, '/trust/trust.yaml', {
      readKey: (path) =>
        Promise.resolve(made.find((file) => file.path.endsWith(path.replace('/trust', '')))?.content ?? ''),
    });
    expect(again.rules.get(REPOSITORY)).toMatchObject({
      rule: {
        keyless: { identities: [{ issuer: 'https://issuer.example.com', subject: 'ops@example.com' }] },
      },
    });
    expect(await problems(`{${source}}\nagent: true`, both, Date.parse('2100-01-01'))).toEqual([
      expect.stringContaining('every authority in the trusted root'),
    ]);
    for (const wrong of [
      '{identities: []}',
      '{trustedRoot: root.json, keys: [old.pub]}',
      `{${identity.replace('subject', 'x')}}`,
      '{}',
    ]) {
      expect((await problems(`{${source}}`, rule(wrong))).join()).toContain('TRUST_INVALID');
    }
  });

  test('does not know an identity that trust.yaml lets sign', async () => {
    await using sigstore = await startSigstore();
    (files as Record<string, string>)['project/root.json'] = JSON.stringify(sigstore.trustedRoot);
    const by = (subject: string): string =>
      `identities: [{issuer: https://issuer.example.com, subject: ${subject}}], trustedRoot: root.json`;
    const verifying = `{${source}, verify: {${by('ops@example.com')}}}`;
    expect(await problems(verifying, rule(`{${by('dev@example.com')}}`))).toEqual([
      expect.stringContaining('lets "dev@example.com" sign'),
    ]);
    const { warnings } = await declare(verifying, rule(`{${by('ops@example.com')}}`));
    expect(warnings).toEqual([]);
    expect(await problems(`{${source}, verify: {${by('ops@example.com')}}, signer: new.pub}`)).toEqual([
      expect.stringContaining('has "ops@example.com"'),
    ]);
    expect(
      await problems(`{${source}, verify: {${by('ops@example.com').replace('root.json', 'gone.json')}}}`),
    ).toEqual([expect.stringContaining('SPEC_INVALID the key project/gone.json cannot be read')]);
  });

  test('has rules that a node’s containers policy cannot hold', async () => {
    const trust = `${rule('{keys: [old.pub]}')}  ${REPOSITORY}/*: accept\n`;
    expect(await problems(`{${source}}`, trust)).toEqual([
      expect.stringContaining('project/trust.yaml:3:3 TRUST_INVALID podman and bootc'),
    ]);
  });
});

describe('the files on a node', () => {
  const policy = {
    default: 'reject' as const,
    repositories: {
      [REPOSITORY]: { keys: [files['project/old.pub'] ?? ''], signedAs: 'example.com/other' },
      'docker.io/vllm/*': 'reject' as const,
    },
  };
  const image = (name: string): { image: string; digest: string } => ({ image: name, digest: 'sha256:1' });

  test('let in what the image runs by digest, unless a rule says otherwise', () => {
    const made = hostPolicyFiles({ source: `${REPOSITORY}:stable`, policy }, [
      image('ghcr.io/some/runtime'),
      image('docker.io/vllm/vllm-openai'),
    ]);
    const text = made.find(({ path }) => path === '/etc/containers/policy.json')?.content ?? '';
    const keyPath = made.find(({ path }) => path.endsWith('.pub'))?.path;
    expect(JSON.parse(text)).toEqual({
      default: [{ type: 'reject' }],
      transports: {
        docker: {
          'docker.io/vllm': [{ type: 'reject' }],
          'ghcr.io/some/runtime@sha256:1': [{ type: 'insecureAcceptAnything' }],
          [REPOSITORY]: [
            {
              type: 'sigstoreSigned',
              keyPath,
              signedIdentity: { type: 'exactRepository', dockerRepository: 'example.com/other' },
            },
          ],
        },
      },
    });
  });

  test('say one identity by its address, with authorities and logs, and leave out what else a root has', async () => {
    await using sigstore = await startSigstore();
    const [log] = sigstore.trustedRoot.tlogs;
    const other = { publicKey: { rawBytes: 'AAAA', keyDetails: 'PKIX_ED25519' } };
    const trustedRoot = JSON.stringify({ ...sigstore.trustedRoot, tlogs: [log, other, log] });
    const identities = [{ issuer: 'https://issuer.example.com', subject: 'ops@example.com' }];
    const rules = { [REPOSITORY]: { keys: [], identities, trustedRoot } };
    const made = hostPolicyFiles({
      source: `${REPOSITORY}:stable`,
      policy: { default: 'reject', repositories: rules },
    });
    const contentOf = (end: string): string => made.find(({ path }) => path.endsWith(end))?.content ?? '';
    const pathOf = (end: string): string | undefined => made.find(({ path }) => path.endsWith(end))?.path;
    expect(JSON.parse(contentOf('policy.json'))).toMatchObject({
      transports: {
        docker: {
          [REPOSITORY]: [
            {
              type: 'sigstoreSigned',
              fulcio: {
                caPath: pathOf('.fulcio.pem'),
                oidcIssuer: 'https://issuer.example.com',
                subjectEmail: 'ops@example.com',
              },
              rekorPublicKeyPath: pathOf('.rekor.pem'),
            },
          ],
        },
      },
    });
    expect(new X509Certificate(contentOf('.fulcio.pem')).ca).toBe(true);
    expect(createPublicKey(contentOf('.rekor.pem')).asymmetricKeyType).toBe('ec');
    expect(made.filter(({ path }) => path.endsWith('.rekor.pem'))).toHaveLength(1);
  });

  test('are not declared a second time', async () => {
    const file =
      "files: [{path: /usr/lib/ingot/trust/more.pub, content: ''}, {path: /etc/containers/storage.conf, content: ''}]";
    expect(await problems(`{${source}, verify: {key: old.pub}}\n${file}`)).toEqual([
      expect.stringMatching(
        /4:16 SPEC_INVALID "\/usr\/lib\/ingot\/trust\/more\.pub" is written by Ingot itself/,
      ),
    ]);
  });
});

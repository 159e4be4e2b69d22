/**
 * A key management service that cosign reaches by a plugin of ours: a program `sigstore-kms-NAME` for keys `NAME://…`
 * (github.com/sigstore/sigstore, pkg/signature/kms/cliplugin). It alone reads the key.
 */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Argv } from '../../src/proc/run.ts';
import type { SidTools } from './sid-tools.ts';

export interface TestKms {
  /** As cosign and Ingot name its key. */
  readonly uri: string;
  /** Of the public key, in PEM. */
  readonly publicKey: string;
  /** Runs a program where cosign and the plugin are installed. */
  inside(...argv: Argv): Argv;
  /** Methods that the plugin was asked for, in their order. */
  asked(): Promise<readonly string[]>;
}

/**
 * @param folder a new one for all of it
 * @param tools with cosign
 */
export async function makeKms(folder: string, tools: SidTools): Promise<TestKms> {
  const bin = join(folder, 'bin');
  const log = join(folder, 'asked');
  const secret = join(folder, 'secret.pem');
  await mkdir(bin, { recursive: true });
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  await writeFile(secret, privateKey, { mode: 0o600 });
  await writeFile(log, '');
  const words = tools.argv('cosign').map((word) => `'${word}'`);
  await writeFile(join(bin, 'cosign'), `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`, { mode: 0o755 });
  await writeFile(join(bin, 'sigstore-kms-testkms'), pluginText({ secret, log, publicKey }), { mode: 0o755 });
  return {
    uri: 'testkms://node',
    publicKey,
    // Ingot looks for programs where the system has them, and nowhere that a user's environment says.
    inside: (...argv) => ['bwrap', '--dev-bind', '/', '/', '--bind', bin, '/usr/local/bin', '--', ...argv],
    asked: async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean),
  };
}

/** Run with the protocol's version and what is asked, as JSON; what is to be signed comes on stdin. */
function pluginText(own: {
  readonly secret: string;
  readonly log: string;
  readonly publicKey: string;
}): string {
  return `#!${process.execPath}
const { appendFileSync, readFileSync } = require('node:fs');
const { sign, verify } = require('node:crypto');
const own = ${JSON.stringify(own)};
const [version, text] = process.argv.slice(2);
const { methodName, initOptions, verifySignature } = JSON.parse(text);
appendFileSync(own.log, methodName + '\\n');
const answer = () => {
  if (version !== '1' && version !== 'v1') return { errorMessage: 'no such version: ' + version };
  if (initOptions.keyResourceID !== 'node') return { errorMessage: 'no such key: ' + initOptions.keyResourceID };
  switch (methodName) {
    case 'defaultAlgorithm':
      return { defaultAlgorithm: { defaultAlgorithm: 'ecdsa-p256-sha256' } };
    case 'supportedAlgorithms':
      return { supportedAlgorithms: { supportedAlgorithms: ['ecdsa-p256-sha256'] } };
    case 'publicKey':
      return { publicKey: { publicKeyPEM: Buffer.from(own.publicKey).toString('base64') } };
    case 'signMessage': {
      const signature = sign('sha256', readFileSync(0), readFileSync(own.secret, 'utf8'));
      return { signMessage: { signature: signature.toString('base64') } };
    }
    case 'verifySignature': {
      const signature = Buffer.from(verifySignature.signature, 'base64');
      const isRight = verify('sha256', readFileSync(0), own.publicKey, signature);
      return isRight ? { verifySignature: {} } : { errorMessage: 'the signature is wrong' };
    }
    default:
      return { errorMessage: 'cannot ' + methodName };
  }
};
process.stdout.write(JSON.stringify(answer()));
`;
}

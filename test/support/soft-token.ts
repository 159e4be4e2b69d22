/** A real PKCS#11 token, in software (SoftHSM), with its files in a folder of the test's own. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const TOKEN_LABEL = 'Build keys';
export const PIN = '73190462';

export interface SoftToken {
  /** Tells the token's module where the token is. */
  readonly env: Readonly<Record<string, string>>;
  /** Puts a private key in, as an object of this name. @param key path of PEM */
  importKey(key: string, label: string, id: string): void;
}

export function makeSoftToken(folder: string): SoftToken {
  const [tokens, configuration] = [join(folder, 'tokens'), join(folder, 'softhsm2.conf')];
  mkdirSync(tokens);
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`);
  const env = { SOFTHSM2_CONF: configuration };
  const softhsm = (...args: readonly string[]): void => {
    execFileSync('softhsm2-util', args, { env: { ...process.env, ...env }, stdio: 'pipe' });
  };
  softhsm('--init-token', '--free', '--label', TOKEN_LABEL, '--pin', PIN, '--so-pin', '12345678');
  return {
    env,
    importKey: (key, label, id) => {
      const plain = join(folder, `${label}.pk8`);
      execFileSync('openssl', ['pkcs8', '-topk8', '-nocrypt', '-in', key, '-out', plain], { stdio: 'pipe' });
      softhsm('--import', plain, '--token', TOKEN_LABEL, '--label', label, '--id', id, '--pin', PIN);
    },
  };
}

export function keyUri(object: string, token = TOKEN_LABEL): string {
  return `pkcs11:token=${encodeURIComponent(token)};object=${object}`;
}

import { describe, expect, it } from 'vitest';

import { signWithTokenArgv, tokenFailure } from './openssl.ts';

/** What openssl 3.0.19 with libp11 0.4.12 says, without the lines that all have. */
const SAID = {
  'wrong PIN': `Login failed
Login to token failed, returning NULL...
The private key was not found at: pkcs11:token=Build%20keys;object=mok
PKCS11_get_private_key returned NULL
802BA39A357F0000:error:418000A0:PKCS#11 module:ERR_CKR_error:PIN incorrect:p11_slot.c:208:
802BA39A357F0000:error:13000080:engine routines:ENGINE_load_private_key:failed loading private key:../crypto/engine/eng_pkey.c:79:`,
  'no token': `No matching initialized token was found for private key
No matching initialized token was found for private key
The private key was not found at: pkcs11:token=nope;object=mok
PKCS11_get_private_key returned NULL
80ABAABAC67F0000:error:40000065:pkcs11 engine:ERR_ENG_error:object not found:eng_back.c:887:`,
  'no key': `The private key was not found at: pkcs11:token=Build%20keys;object=nope
PKCS11_get_private_key returned NULL
80AB3BE88F7F0000:error:40000065:pkcs11 engine:ERR_ENG_error:object not found:eng_back.c:887:`,
  'not RSA': `pkeyutl: Can't set parameter "rsa_padding_mode:pkcs1":`,
  'no module': `/usr/lib/softhsm/nope.so: cannot open shared object file: No such file or directory
Unable to load module /usr/lib/softhsm/nope.so
PKCS11_get_private_key returned NULL
805BF5DCA67F0000:error:41000401:libp11:ERR_P11_error:Unable to load PKCS#11 module:p11_load.c:77:`,
  'no engine': `Invalid engine "pkcs11"
803B7CEFBC7F0000:error:13000074:engine routines:ENGINE_by_id:no such engine:../crypto/engine/eng_list.c:428:id=pkcs11
No engine specified for loading private key`,
};

describe('what openssl says of a token', () => {
  it.each([
    ['wrong PIN', 'USAGE', 'refuses the PIN'],
    ['no token', 'USAGE', 'is not there'],
    ['no key', 'USAGE', 'has no private key'],
    ['not RSA', 'USAGE', 'is not RSA'],
    ['no module', 'USAGE', 'module cannot be loaded'],
    ['no engine', 'TOOL_MISSING', 'has no engine'],
  ] as const)('with %s', (what, code, message) => {
    const failure = tokenFailure(SAID[what]);
    expect(failure?.code).toBe(code);
    expect(failure?.message).toContain(message);
  });

  it('is left to speak for itself where it is not known', () => {
    expect(tokenFailure('Engine "pkcs11" set.\nSomething else')).toBeUndefined();
  });
});

it('openssl is given the key by name and the PIN by standard input, and dumps no core', () => {
  const argv = signWithTokenArgv('pkcs11:token=t;object=o', '/tmp/digest');
  expect(argv.slice(0, 4)).toEqual(['prlimit', '--core=0:0', 'openssl', 'pkeyutl']);
  expect(argv.join(' ')).toContain('-inkey pkcs11:token=t;object=o -passin stdin');
});

/** cosign, for keys that only it can reach: those of a KMS. */
import type { Argv } from '../proc/run.ts';

/** As cosign names keys of a KMS: awskms, gcpkms, azurekms, hashivault, k8s and those of its plugins. */
export function isKmsUri(text: string): boolean {
  return /^[a-z][a-z0-9]*:\/\/\S+$/.test(text);
}

/** Prints the public key in PEM. */
export function cosignPublicKeyArgv(key: string): Argv {
  return ['cosign', 'public-key', '--key', key];
}

/** Writes base64 of the signature over `content`, a file, to the file `output`. No log is told. */
export function cosignSignBlobArgv(key: string, content: string, output: string): Argv {
  return [
    ...(['cosign', 'sign-blob', '--yes', '--key', key] as const),
    // Version 3 would make a bundle and ask Sigstore's servers; earlier ones know the first two flags as well.
    ...['--new-bundle-format=false', '--tlog-upload=false', '--use-signing-config=false'],
    ...['--output-signature', output, content],
  ];
}

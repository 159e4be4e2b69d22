/** What a declaration's author would be told, one line per finding: `line:column message`. */
import { FindingsError, type Finding } from '../../src/errors.ts';
import { parseSpec, type ParseOptions } from '../../src/spec/parse.ts';

/** The smallest declaration that is right; what a test appends begins on line 3. */
export const HEAD = 'name: node\nbase: debian@13\n';

export const SSH_KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ops@laptop';

/** @throws TypeError when nothing is wrong with the text, or it fails in another way. */
export async function findingsOf(text: string, options: ParseOptions = {}): Promise<readonly Finding[]> {
  const error: unknown = await parseSpec(text, 'node.yaml', options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof FindingsError)) throw new TypeError('no findings', { cause: error });
  return error.findings;
}

export function show({ location, message }: Finding): string {
  return `${location?.line ?? '?'}:${location?.column ?? '?'} ${message}`;
}

export async function complaints(text: string): Promise<string[]> {
  return (await findingsOf(text)).map(show);
}

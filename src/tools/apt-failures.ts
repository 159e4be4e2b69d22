/**
 * What apt says when it fails, sorted into what a person can do about it. apt's own words name hosts, and a
 * mirror's address is private: reasons are ours.
 */

export type UpdateFailure =
  | { readonly kind: 'signature' | 'expired' | 'missing' | 'corrupt' | 'disk-full' }
  | { readonly kind: 'unreachable' | 'other'; readonly reason: string };

function unreachable(reason: string): UpdateFailure {
  return { kind: 'unreachable', reason };
}

/**
 * The most telling complaint first: apt calls a suite "not signed" also when it could not fetch it, and adds
 * "failed to download" to everything.
 */
const COMPLAINTS: readonly (readonly [RegExp, UpdateFailure])[] = [
  [/No space left on device/, { kind: 'disk-full' }],
  [/NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|GPG error|OpenPGP signature/, { kind: 'signature' }],
  [/^E: Release file for .* is (expired|not valid yet)/m, { kind: 'expired' }],
  [/Hash Sum mismatch|File has unexpected size|Clearsigned file isn't valid/, { kind: 'corrupt' }],
  [/Temporary failure resolving|Could not resolve/, unreachable('its name cannot be resolved')],
  [/Connection refused/, unreachable('connection refused')],
  [/timed out|Connection timeout/i, unreachable('timed out')],
  [/Network is unreachable|No route to host/, unreachable('network unreachable')],
  [/certificate/i, unreachable('its certificate is not trusted')],
  [
    /Connection reset|Connection failed|Error reading from server|closed connection/,
    unreachable('the connection was cut'),
  ],
  [/^ {2}404 /m, { kind: 'missing' }],
  [/^ {2}40[13] /m, unreachable('it refuses to give them')],
  [/^ {2}(?:4\d\d|5\d\d) /m, unreachable('it answers with an error')],
  [/does not have a Release file|File not found/, { kind: 'missing' }],
  [/is not signed/, { kind: 'signature' }],
];

/** @param output stdout and stderr of a failed `apt-get update` */
export function parseUpdateFailure(output: string): UpdateFailure {
  const known = COMPLAINTS.find(([pattern]) => pattern.test(output));
  if (known !== undefined) return known[1];
  const first = /^E: (.*)$/m.exec(output)?.[1] ?? 'apt-get update failed';
  return { kind: 'other', reason: first.replaceAll(/\b[a-z+]+:\/+\S+/g, 'the archive') };
}

/** One thing apt cannot reconcile: `systemd-sysv` and `Conflicts: sysvinit-core but 3.14-4 is to be installed`. */
export interface UnmetDependency {
  readonly package: string;
  readonly reason: string;
}

/** The block after "The following packages have unmet dependencies:". */
export function parseUnmet(output: string): UnmetDependency[] {
  const block = /unmet dependencies:\n((?: .*\n?)*)/.exec(output)?.[1] ?? '';
  const unmet: UnmetDependency[] = [];
  let current = '';
  for (const line of block.split('\n')) {
    const [, name, first] = /^ (\S+) : (.*)$/.exec(line) ?? [];
    if (name !== undefined) current = name;
    const reason = (first ?? line).trim();
    if (reason !== '' && current !== '') unmet.push({ package: current, reason });
  }
  return unmet;
}

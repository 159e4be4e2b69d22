/**
 * What a machine's owner does to a node between two updates, and whether it is there after one: in /etc a file more, one
 * changed and one less, and a file in /var. And whether the defaults in /etc that a new image brings came through where
 * nobody had touched them.
 */
import type { Vm } from '../vm/machine.ts';

export interface Edit {
  readonly path: string;
  readonly what: 'added' | 'changed' | 'removed';
}

const SECONDS = 1000;
const QUESTION_MS = 120 * SECONDS;
const MARK = '# ingot-test was here';
const ADDED = '/etc/ingot-test.d/added';
const KEPT = '/var/lib/ingot-test/kept';
/** Files of an image that hold comments, and files that nothing needs: the first that is there is taken. */
const CHANGEABLE = ['motd', 'issue', 'profile', 'login.defs', 'services'];
const REMOVABLE = ['issue.net', 'bindresvport.blacklist', 'networks', 'rpc', 'protocols', 'host.conf'];

const MAKE_EDITS = `set -e
first() { for name in "$@"; do [ -f /etc/$name ] && [ -f /usr/etc/$name ] && echo $name && return; done; }
mkdir -p ${dirnameOf(ADDED)} ${dirnameOf(KEPT)}
for file in ${ADDED} ${KEPT}; do
  echo '${MARK}' >$file
  chmod 0640 $file
  chown 1:1 $file
  echo added $file
done
changed=$(first ${CHANGEABLE.join(' ')})
[ -z "$changed" ] || { echo '${MARK}' >>/etc/$changed; echo changed /etc/$changed; }
removed=$(first ${REMOVABLE.join(' ')})
[ -z "$removed" ] || { rm /etc/$removed; echo removed /etc/$removed; }
sync
`;

/** @throws IngotError VM_FAILED */
export async function makeEdits(vm: Vm): Promise<readonly Edit[]> {
  return parseEdits((await vm.exec(MAKE_EDITS, { timeoutMs: QUESTION_MS })).stdout);
}

export function parseEdits(stdout: string): readonly Edit[] {
  return stdout.split('\n').flatMap((line): Edit[] => {
    const [, what, path] = /^(added|changed|removed) (\/\S+)$/.exec(line) ?? [];
    return what === undefined || path === undefined ? [] : [{ what: what as Edit['what'], path }];
  });
}

/** What of the edits is not there, in sentences. */
export async function findLostEdits(vm: Vm, edits: readonly Edit[]): Promise<readonly string[]> {
  const lines = edits.map(({ path, what }) => {
    const holds =
      what === 'removed'
        ? `[ ! -e ${path} ]`
        : what === 'changed'
          ? `tail -n 1 ${path} | grep -qxF '${MARK}'`
          : `[ "$(cat ${path})" = '${MARK}' ] && [ "$(stat -c %a:%u:%g ${path})" = 640:1:1 ]`;
    return `{ ${holds}; } 2>/dev/null || echo '${path}, which was ${what} on the node, is not so any more'`;
  });
  const { stdout } = await vm.exec(`${lines.join('\n')}\n`, { timeoutMs: QUESTION_MS });
  return stdout.split('\n').filter(Boolean);
}

/** Paths below /etc that differ from the running image's, by `ostree admin config-diff`. */
export async function localChanges(vm: Vm): Promise<ReadonlySet<string>> {
  const { stdout } = await vm.exec('ostree admin config-diff', { timeoutMs: QUESTION_MS });
  return parseConfigDiff(stdout);
}

/** Lines such as `M    motd`. */
export function parseConfigDiff(stdout: string): ReadonlySet<string> {
  return new Set(
    stdout.split('\n').flatMap((line) => {
      const path = /^[MAD]\s+(.+)$/.exec(line)?.[1];
      return path === undefined ? [] : [path];
    }),
  );
}

export interface EtcDefaults {
  /** Files that the new image brings, changes or drops, and nobody had changed here. */
  readonly moved: number;
  /** Of these, what is not as in the new image, in sentences. */
  readonly stale: readonly string[];
}

export interface DefaultChange {
  /** Below /etc. */
  readonly path: string;
  readonly what: 'changed' | 'added' | 'removed';
}

/**
 * Compares /etc of the running system with what the image before and the running one bring.
 *
 * @param before folder of the deployment that ran before
 * @param local what was changed on the node while that one ran
 */
export async function checkDefaults(
  vm: Vm,
  before: string,
  local: ReadonlySet<string>,
): Promise<EtcDefaults> {
  const [old, fresh] = [`${before}/usr/etc`, '/usr/etc'];
  const ask = async (script: string): Promise<string> =>
    (await vm.exec(script, { timeoutMs: QUESTION_MS })).stdout;
  const differences = await ask(`LC_ALL=C diff -rq --no-dereference ${old} ${fresh}`);
  const changes = parseTreeDiff(differences, old, fresh).filter(({ path }) => !isLocal(path, local));
  if (changes.length === 0) return { moved: 0, stale: [] };
  const same = (left: string, right: string): string =>
    `diff -rq --no-dereference ${quote(left)} ${quote(right)} >/dev/null 2>&1`;
  const states = await ask(
    changes
      .map(({ path, what }) => {
        const [now, was, is] = [`/etc/${path}`, `${old}/${path}`, `${fresh}/${path}`];
        const missing = `[ ! -e ${quote(now)} ] && [ ! -L ${quote(now)} ]`;
        if (what === 'removed') {
          return `if ${missing}; then echo new; elif ${same(now, was)}; then echo old; else echo own; fi`;
        }
        const isOld = what === 'changed' ? `elif ${same(now, was)}; then echo old; ` : '';
        return `if ${missing}; then echo none; elif ${same(now, is)}; then echo new; ${isOld}else echo own; fi`;
      })
      .join('\n'),
  );
  return { moved: changes.length, stale: judgeDefaults(changes, states.trim().split('\n')) };
}

/** Something of the system's own may have changed a file since: that is `own`, and no fault of the update. */
export function judgeDefaults(
  changes: readonly DefaultChange[],
  states: readonly string[],
): readonly string[] {
  return changes.flatMap(({ path, what }, index) => {
    const state = states[index];
    if (state === 'new' || state === 'own') return [];
    if (state === 'none')
      return [`/etc/${path}, which the new image ${what === 'added' ? 'adds' : 'changes'}, is missing`];
    return [
      `/etc/${path}, which the new image ${what === 'removed' ? 'drops' : 'changes'}, is still the old one’s`,
    ];
  });
}

/** Output of `LC_ALL=C diff -rq` of two trees. */
export function parseTreeDiff(stdout: string, from: string, to: string): readonly DefaultChange[] {
  return stdout.split('\n').flatMap((line): DefaultChange[] => {
    const [, folder = '', name = ''] = /^Only in (.+): (.+)$/.exec(line) ?? [];
    for (const [root, what] of [
      [from, 'removed'],
      [to, 'added'],
    ] as const) {
      if (folder !== root && !folder.startsWith(`${root}/`)) continue;
      return [{ path: `${folder.slice(root.length + 1)}/${name}`.replace(/^\//, ''), what }];
    }
    if (!/ differ$| while /.test(line)) return [];
    const start = line.indexOf(`${from}/`);
    const end = !line.includes(` and ${to}/`) ? line.indexOf(' is ') : line.indexOf(` and ${to}/`);
    return start === -1 || end === -1
      ? []
      : [{ path: line.slice(start + from.length + 1, end), what: 'changed' }];
  });
}

/** Itself, or a folder that it is in or that is in it. */
function isLocal(path: string, local: ReadonlySet<string>): boolean {
  for (const one of local) {
    if (one === path || path.startsWith(`${one}/`) || one.startsWith(`${path}/`)) return true;
  }
  return false;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function dirnameOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

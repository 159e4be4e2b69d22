/** Package repositories as an image configures them. Format: dnf.conf(5), repository options. Pure. */

export interface RpmRepository {
  readonly id: string;
  /** Addresses of the same content, without a slash at their ends. */
  readonly baseUrls: readonly string[];
  /** Address of a list of further ones, as lines or as a metalink. */
  readonly mirrorList?: string;
  /** Whether its packages are signed, and whether its index is. */
  readonly signsPackages: boolean;
  readonly signsIndex: boolean;
  /** Addresses of its keys; mostly files of the image. */
  readonly keys: readonly string[];
  /** Lower goes first. */
  readonly priority: number;
  readonly excludes: readonly string[];
}

const DEFAULT_PRIORITY = 99;

/**
 * The enabled repositories of one file. What is not said counts as signed: a repository without signatures has to say so.
 *
 * @param variables by name, such as `releasever`
 */
export function parseRepositories(text: string, variables: ReadonlyMap<string, string>): RpmRepository[] {
  return sectionsOf(text).flatMap(([id, options]): RpmRepository[] => {
    const filled = (name: string): string => fill(options.get(name) ?? '', variables);
    const list = (name: string): string[] =>
      filled(name)
        .split(/[\s,]+/)
        .filter((word) => word !== '');
    if (id === 'main' || !isTrue(options.get('enabled'), true)) return [];
    const mirrorList = [filled('metalink'), filled('mirrorlist')].find((url) => url !== '');
    const priority = Number(options.get('priority') ?? DEFAULT_PRIORITY);
    return [
      {
        id,
        baseUrls: list('baseurl').map((url) => url.replace(/\/+$/, '')),
        ...(mirrorList !== undefined && { mirrorList }),
        signsPackages: isTrue(options.get('gpgcheck') ?? options.get('pkg_gpgcheck'), true),
        signsIndex: isTrue(options.get('repo_gpgcheck'), false),
        keys: list('gpgkey'),
        priority: Number.isSafeInteger(priority) ? priority : DEFAULT_PRIORITY,
        excludes: [...list('excludepkgs'), ...list('exclude')],
      },
    ];
  });
}

/** `$name` and `${name}`; one that is not known stays as it is. */
function fill(text: string, variables: ReadonlyMap<string, string>): string {
  return text.replaceAll(
    /\$(?:\{(\w+)\}|(\w+))/g,
    (whole, braced: string | undefined, plain: string | undefined) => {
      return variables.get(braced ?? plain ?? '') ?? whole;
    },
  );
}

function isTrue(value: string | undefined, otherwise: boolean): boolean {
  return value === undefined ? otherwise : /^(?:1|yes|true|on|enabled)$/i.test(value.trim());
}

/** An INI file; a line that is indented goes on with the option before it. */
function sectionsOf(text: string): [string, Map<string, string>][] {
  const sections: [string, Map<string, string>][] = [];
  let last: string | undefined;
  for (const line of text.split('\n')) {
    if (/^\s*(?:[#;]|$)/.test(line)) continue;
    const options = sections.at(-1)?.[1];
    const section = /^\[([^\]]+)\]/.exec(line)?.[1];
    const [, name, value = ''] = /^([^\s=:][^=:]*?)\s*[=:]\s*(.*)$/.exec(line) ?? [];
    if (section !== undefined) {
      sections.push([section.trim(), new Map<string, string>()]);
      last = undefined;
    } else if (/^\s/.test(line) && last !== undefined) {
      options?.set(last, `${options.get(last) ?? ''} ${line.trim()}`);
    } else if (name !== undefined) {
      last = name.trim().toLowerCase();
      options?.set(last, value.trim());
    }
  }
  return sections;
}

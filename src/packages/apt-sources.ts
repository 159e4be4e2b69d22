/** Package repositories as a machine's own apt is told of them: sources.list(5), in its two forms. Pure. */
import { parseStanzas, type Stanza } from './stanzas.ts';

/** One entry that is enabled and of binary packages for the architecture. */
export interface AptRepository {
  readonly uri: string;
  readonly suites: readonly string[];
  /** None for a repository without suites. */
  readonly components: readonly string[];
  /** Paths, fingerprints, or an armoured key itself; undefined for every key that the machine trusts. */
  readonly signedBy: string | undefined;
  /** Taken without a signature. */
  readonly trusted: boolean;
  readonly checkValidUntil: boolean;
}

/** @param path tells the form: `.sources` is deb822's, all else has an entry in a line */
export function parseAptSources(path: string, text: string, architecture: string): AptRepository[] {
  return path.endsWith('.sources')
    ? parseStanzas(text).flatMap((stanza) => ofStanza(stanza, architecture))
    : text.split('\n').flatMap((line) => ofLine(line, architecture));
}

const LINE = /^deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+\S+)*)$/;

function ofLine(line: string, architecture: string): AptRepository[] {
  const entry = LINE.exec(line.replace(/#.*/, '').trim());
  if (entry === null) return [];
  const [, settings = '', uri = '', suite = '', components = ''] = entry;
  const options = new Map(
    words(settings).map((setting): [string, string] => {
      const [key = '', value = ''] = setting.split(/[-+]?=/, 2);
      return [key.toLowerCase(), value];
    }),
  );
  return repositories({
    uris: [uri],
    suites: [suite],
    components: words(components),
    option: (_long, short) => options.get(short),
    architecture,
  });
}

function ofStanza(stanza: Stanza, architecture: string): AptRepository[] {
  if (isNo(stanza.get('enabled')) || !words(stanza.get('types')).includes('deb')) return [];
  return repositories({
    uris: words(stanza.get('uris')),
    suites: words(stanza.get('suites')),
    components: words(stanza.get('components')),
    option: (long) => stanza.get(long),
    architecture,
  });
}

interface Entry {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** By its name in deb822, and in a line. */
  readonly option: (long: string, short: string) => string | undefined;
  readonly architecture: string;
}

function repositories({ uris, suites, components, option, architecture }: Entry): AptRepository[] {
  const architectures = words(option('architectures', 'arch'));
  if (architectures.length > 0 && !architectures.includes(architecture)) return [];
  const filled = (text: string): string => text.replaceAll('$(ARCH)', architecture);
  const signedBy = option('signed-by', 'signed-by')?.trim();
  return uris.map((uri) => ({
    uri: filled(uri).replace(/\/+$/, ''),
    suites: suites.map(filled),
    components,
    signedBy: signedBy === undefined || signedBy === '' ? undefined : signedBy,
    trusted: isYes(option('trusted', 'trusted')),
    checkValidUntil: !isNo(option('check-valid-until', 'check-valid-until')),
  }));
}

function words(text = ''): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

/** As apt reads booleans. */
function isNo(text = ''): boolean {
  return /^(?:no|false|without|off|disable)$/i.test(text.trim());
}

function isYes(text = ''): boolean {
  return /^(?:yes|true|with|on|enable)$/i.test(text.trim());
}

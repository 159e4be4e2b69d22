/** Podman's quadlets as text: podman-systemd.unit(5), systemd.syntax(7). Pure. */

/** What a declared container says, as far as a quadlet is made of it. */
export interface QuadletFields {
  readonly name: string;
  /** As it stands after `Image=`. */
  readonly image: string;
  readonly summary?: string | undefined;
  readonly publish?: readonly string[] | undefined;
  readonly volumes?: readonly string[] | undefined;
  readonly devices?: readonly string[] | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly exec?: string | undefined;
  readonly network?: string | undefined;
  readonly after?: readonly string[] | undefined;
  readonly enabled?: boolean | undefined;
}

export function renderQuadlet(fields: QuadletFields): string {
  const { name, image, summary, exec, network, enabled = true } = fields;
  const each = (key: string, values: readonly string[] = []): string[] =>
    values.map((value) => `${key}=${value}`);
  const variables = Object.entries(fields.environment ?? {}).sort(([one], [other]) => (one < other ? -1 : 1));
  const lines = [
    '[Unit]',
    `Description=${withoutSpecifiers(summary ?? name)}`,
    ...each('After', fields.after),
    '',
    '[Container]',
    `Image=${image}`,
    ...each('PublishPort', fields.publish),
    ...each('Volume', fields.volumes?.map(withoutSpecifiers)),
    ...each('AddDevice', fields.devices),
    ...each(
      'Environment',
      variables.map(([key, value]) => `"${key}=${quoted(value)}"`),
    ),
    ...each('Network', network === undefined ? [] : [withoutSpecifiers(network)]),
    ...each('Exec', exec === undefined ? [] : [exec]),
    '',
    '[Service]',
    'Restart=on-failure',
    ...(enabled ? ['', '[Install]', 'WantedBy=multi-user.target'] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** `%` begins a specifier of systemd's wherever it stands. */
function withoutSpecifiers(text: string): string {
  return text.replaceAll('%', '%%');
}

function quoted(value: string): string {
  // The generator puts it into a command line, where systemd expands `$` too.
  return withoutSpecifiers(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('$', '$$$$');
}

interface Line {
  /** Undefined before the first section. */
  readonly section: string | undefined;
  readonly key: string;
  readonly value: string;
  /** Index among the lines of the text. */
  readonly index: number;
}

/** Assignments, with the section each is in. A value that goes on in the next line ends with a backslash. */
function assignments(text: string): readonly Line[] {
  const found: Line[] = [];
  let section: string | undefined;
  let goesOn = false;
  for (const [index, line] of text.split('\n').entries()) {
    const isRest: boolean = goesOn;
    const isComment = /^\s*[#;]/.test(line);
    goesOn = line.endsWith('\\') && (isRest || !isComment);
    if (isRest || isComment) continue;
    section = /^\s*\[([^\]]+)\]\s*$/.exec(line)?.[1] ?? section;
    const [, key, value] = /^\s*([A-Za-z][\w-]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) found.push({ section, key, value, index });
  }
  return found;
}

function ofContainer(text: string, key: string): readonly Line[] {
  return assignments(text).filter((line) => line.section === 'Container' && line.key === key);
}

/** What follows `Image=` of a text without problems. */
export function quadletImage(text: string): string {
  return ofContainer(text, 'Image')[0]?.value ?? '';
}

/** Why a text cannot be a container that belongs to an image, in a few words. */
export function quadletProblem(text: string, reference: RegExp): string | undefined {
  const [image, ...more] = ofContainer(text, 'Image');
  if (image === undefined) return 'is no quadlet of a container: it has no Image= in a section [Container]';
  if (more.length > 0) return 'has more than one Image=';
  if (!reference.test(image.value)) {
    return 'must have after Image= a registry, a path, and a tag or a digest, such as registry.example.com/ai/server:1.0';
  }
  const [pull] = ofContainer(text, 'Pull');
  if (pull !== undefined && pull.value !== 'never') {
    return 'has Pull=, and its image is pulled before the node restarts: leave it out';
  }
  return undefined;
}

export interface Pinned {
  /** With its digest. */
  readonly image: string;
  /** Folder of an image store besides Podman's own. */
  readonly store: string;
  /** Unit that must have run before it. */
  readonly after: string;
}

/** The quadlet with one image and no other, out of a store that is there: it never asks a registry. */
export function pinQuadlet(text: string, { image, store, after }: Pinned): string {
  const at = ofContainer(text, 'Image')[0]?.index;
  if (at === undefined) throw new TypeError('a quadlet without Image=');
  const isPulled = ofContainer(text, 'Pull').length === 0;
  const lines = text.replace(/\n*$/, '\n').split('\n');
  lines[at] = [
    `Image=${image}`,
    ...(isPulled ? ['Pull=never'] : []),
    `GlobalArgs=--storage-opt=additionalimagestore=${store}`,
  ].join('\n');
  // A second [Unit] adds to the first.
  return `${lines.join('\n')}\n[Unit]\nRequires=${after}\nAfter=${after}\n`;
}

/**
 * Origin files of deployments: a key file per deployment, which ostree keeps beside it and hands on. Ours has a group
 * of its own; bootc's name for the same is understood.
 */
export interface Origin {
  /** What the node follows. */
  readonly reference?: string | undefined;
}

/** `ostree-unverified-registry:HOST/PATH:TAG` and its relatives; the last part is the reference. */
const BOOTC =
  /^ostree-(?:unverified-registry|unverified-image:docker|image-signed:docker|remote-registry:[^:]*|remote-image:[^:]*:docker):(?:\/\/)?(.+)$/;

export function parseOrigin(text: string): Origin {
  const groups = parseKeyFile(text);
  const own = groups.get('ingot')?.get('image');
  if (own !== undefined && own !== '') return { reference: own };
  const bootc = BOOTC.exec(groups.get('origin')?.get('container-image-reference') ?? '')?.[1];
  return bootc === undefined ? {} : { reference: bootc };
}

export function renderOrigin(ref: string, { reference }: Origin): string {
  const lines = ['[origin]', `refspec=${ref}`];
  if (reference !== undefined) lines.push('', '[ingot]', `image=${reference}`);
  return `${lines.join('\n')}\n`;
}

/** Desktop Entry Specification, "Basic format of the file": groups of `key=value`, `#` begins a comment. */
function parseKeyFile(text: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const groups = new Map<string, Map<string, string>>();
  let group: Map<string, string> | undefined;
  for (const line of text.split('\n')) {
    const head = /^\[([^\]]+)\]\s*$/.exec(line)?.[1];
    if (head !== undefined) {
      group = groups.get(head) ?? new Map<string, string>();
      groups.set(head, group);
      continue;
    }
    const [, key, value] = /^\s*([^#=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) group?.set(key, value);
  }
  return groups;
}

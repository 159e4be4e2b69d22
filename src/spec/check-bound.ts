/** What containers and models of a declaration need of the rest of it: a way onto the node, and places of their own. */
import type { Finding, Location } from '../errors.ts';
import { nodeAt, quoted, type SourceMapping, type SourceNode } from './source-tree.ts';

/** Written by Ingot for containers and models. */
const OWN_PATHS = [
  '/usr/lib/ingot/bound.json',
  '/usr/lib/bootc/bound-images.d',
  '/usr/lib/bootc/storage',
  '/usr/lib/systemd/system/ingot-bound.service',
];

export function checkBound(root: SourceMapping): Finding[] {
  const findings: Finding[] = [];
  const report = (message: string, location: Location): void => {
    findings.push({ code: 'SPEC_INVALID', severity: 'error', message, location });
  };
  const containers = itemsOf(root, 'containers');
  const models = itemsOf(root, 'models');
  requireAgent(root, report);
  const units = new Set(itemsOf(root, 'units').map((unit) => textAt(unit, 'name')?.text));
  const files = itemsOf(root, 'files').flatMap((file) => textAt(file, 'path') ?? []);
  for (const container of containers) {
    const name = textAt(container, 'name');
    if (name === undefined) continue;
    const unit = `${name.text}.service`;
    if (units.has(unit))
      report(`${quoted(unit)} is declared in units too: it is the container’s own`, name.at);
    if (name.text === 'ingot-bound') report(`${quoted(unit)} is a unit of Ingot’s own`, name.at);
  }
  const own = [
    ...(containers.length + models.length > 0 ? OWN_PATHS : []),
    ...containers.flatMap((container) => {
      const name = textAt(container, 'name')?.text;
      return name === undefined ? [] : [`/usr/share/containers/systemd/${name}.container`];
    }),
  ];
  for (const { text, at } of files) {
    if (!own.some((path) => text === path || text.startsWith(`${path}/`))) continue;
    report(`${quoted(text)} is written by Ingot itself, out of containers and models`, at);
  }
  const places = models.flatMap((model) => placeOf(model) ?? []);
  for (const [index, { text, at }] of places.entries()) {
    const others = [...files, ...places.filter((_, other) => other < index)];
    const other = others.find((one) => isWithin(one.text, text) || isWithin(text, one.text));
    if (other === undefined) continue;
    report(`the model is at ${quoted(text)}, and ${quoted(other.text)} is in its way`, at);
  }
  return findings;
}

/** What pulls them before the node restarts. */
function requireAgent(root: SourceMapping, report: (message: string, location: Location) => void): void {
  const agent = nodeAt(root, ['agent']);
  if (agent?.kind === 'scalar' && agent.value !== false && agent.value !== null) return;
  for (const key of ['containers', 'models']) {
    if (itemsOf(root, key).length === 0) continue;
    const at = root.members.get(key)?.keyAt ?? root.at;
    report(`${key} need \`agent: true\`: it pulls them before the node restarts`, at);
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

interface Text {
  readonly text: string;
  readonly at: Location;
}

function placeOf(model: SourceNode): Text | undefined {
  const name = textAt(model, 'name');
  return (
    textAt(model, 'path') ??
    (name === undefined ? undefined : { ...name, text: `/usr/share/models/${name.text}` })
  );
}

function itemsOf(root: SourceMapping, key: string): readonly SourceNode[] {
  const list = nodeAt(root, [key]);
  return list?.kind === 'list' ? list.items : [];
}

function textAt(node: SourceNode, key: string): Text | undefined {
  const value = nodeAt(node, [key]);
  return value?.kind === 'scalar' && typeof value.value === 'string'
    ? { text: value.value, at: value.at }
    : undefined;
}

/**
 * What takes more than one value of a declaration to see: duplicates, contradictions, cross references. Works on
 * the source tree, so that it also runs, and says all it can, when other values are wrong.
 */
import type { Finding, Location } from '../errors.ts';
import { SYSTEM_ACCOUNTS } from './accounts.ts';
import { checkBound } from './check-bound.ts';
import { identityOf } from './merge.ts';
import { PackageRequest } from './schema.ts';
import { pathText } from './source-schema.ts';
import { nodeAt, quoted, type SourceMapping, type SourceNode, type SourcePath } from './source-tree.ts';
import { nearest } from './suggest.ts';
import { POLICY_PATHS } from './update-schema.ts';

/** Lists whose entries must differ, with the key that tells them apart in a message. */
const UNIQUE_LISTS: readonly { readonly path: string; readonly key: string }[] = [
  { path: 'gpus', key: 'GPU' },
  { path: 'runtimes', key: 'runtime' },
  { path: 'containers', key: 'container' },
  { path: 'models', key: 'model' },
  { path: 'addons', key: 'addon' },
  { path: 'packages', key: 'package' },
  { path: 'groups', key: 'group' },
  { path: 'users', key: 'user' },
  { path: 'files', key: 'file' },
  { path: 'units', key: 'unit' },
  { path: 'kernelArguments', key: 'kernel argument' },
  { path: 'health', key: 'health check' },
  { path: 'variants', key: 'variant' },
];

export function checkDeclaration(root: SourceMapping): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (message, location, more = {}) => {
    findings.push({ code: 'SPEC_INVALID', severity: 'error', message, location, ...more });
  };
  for (const { path, key } of UNIQUE_LISTS) checkUnique(entriesOf(root, path), path, key, report);
  entriesOf(root, 'users').forEach((user, index) => {
    for (const list of ['groups', 'sshKeys']) {
      checkUnique(entriesOf(user, list), list, list === 'groups' ? 'group' : 'SSH key', report, [
        'users',
        index,
      ]);
    }
  });
  entriesOf(root, 'runtimes').forEach((runtime, index) => {
    checkUnique(entriesOf(runtime, 'features'), 'features', 'feature', report, ['runtimes', index]);
  });
  checkNumbers(root, 'users', 'uid', report);
  checkNumbers(root, 'groups', 'gid', report);
  checkAccounts(root, report);
  checkPackages(root, report);
  checkPaths(root, report);
  checkUnits(root, report);
  checkUpdateFiles(root, report);
  findings.push(...checkBound(root));
  checkUnattended(root, report);
  return findings;
}

type Report = (
  message: string,
  location: Location,
  more?: Pick<Finding, 'suggestions'> & { readonly severity?: Finding['severity'] },
) => void;

function checkUnique(
  items: readonly SourceNode[],
  listKey: string,
  noun: string,
  report: Report,
  within: SourcePath = [],
): void {
  const seen = new Set<string>();
  for (const item of items) {
    const identity = identityOf(item, listKey);
    if (identity === undefined) continue;
    const inside = within.length === 0 ? '' : ` in ${pathText(within)}`;
    if (seen.has(identity)) {
      report(`the ${noun} ${quoted(identity)} is given twice${inside}`, placeOfName(item));
    }
    seen.add(identity);
  }
}

function checkNumbers(root: SourceMapping, list: string, key: string, report: Report): void {
  const owners = new Map<number, string>();
  for (const item of entriesOf(root, list)) {
    const number = nodeAt(item, [key]);
    if (number?.kind !== 'scalar' || typeof number.value !== 'number') continue;
    const owner = owners.get(number.value);
    const name = textAt(item, 'name') ?? 'another entry';
    if (owner !== undefined && owner !== name) {
      report(`${key} ${number.value} already belongs to ${quoted(owner)}`, number.at);
    }
    owners.set(number.value, name);
  }
}

function checkAccounts(root: SourceMapping, report: Report): void {
  const declared = new Set<string>();
  for (const list of ['users', 'groups']) {
    for (const item of entriesOf(root, list)) {
      const name = textAt(item, 'name');
      if (name === undefined) continue;
      declared.add(name);
      if (SYSTEM_ACCOUNTS.has(name) || name.startsWith('systemd-')) {
        report(`${quoted(name)} is an account of the system and cannot be declared`, placeOfName(item));
      }
    }
  }
  const known = new Set([...SYSTEM_ACCOUNTS, ...declared]);
  for (const user of entriesOf(root, 'users')) {
    for (const group of entriesOf(user, 'groups')) {
      if (group.kind !== 'scalar' || typeof group.value !== 'string' || known.has(group.value)) continue;
      // A package may bring the group, so only what looks like a slip is worth a word.
      const suggestions = nearest(group.value, known);
      if (suggestions.length === 0) continue;
      report(`the group ${quoted(group.value)} is neither declared nor one of the system's own`, group.at, {
        severity: 'warning',
        suggestions,
      });
    }
  }
}

const DEBIAN_PACKAGE = /^[a-z0-9][a-z0-9+.-]+(?:=(?:\d+:)?\d[A-Za-z0-9.+~-]*)?$/;

/** Which packages an image as the base has is known when it is read. */
function checkPackages(root: SourceMapping, report: Report): void {
  if (nodeAt(root, ['base', 'image']) !== undefined) return;
  for (const [index, item] of entriesOf(root, 'packages').entries()) {
    const name = item.kind === 'scalar' && typeof item.value === 'string' ? item.value : undefined;
    if (name === undefined || DEBIAN_PACKAGE.test(name) || !PackageRequest.safeParse(name).success) continue;
    const place = pathText(['packages', index]);
    report(`${place} must be a Debian package name, or name=version, not ${quoted(name)}`, item.at);
  }
}

/** A path that is a file cannot also be a folder of another file. */
function checkPaths(root: SourceMapping, report: Report): void {
  const paths = new Set(entriesOf(root, 'files').map((item) => textAt(item, 'path') ?? ''));
  for (const item of entriesOf(root, 'files')) {
    const parts = (textAt(item, 'path') ?? '').split('/');
    for (let length = parts.length - 1; length > 1; length--) {
      const parent = parts.slice(0, length).join('/');
      if (!paths.has(parent)) continue;
      report(`${quoted(parent)} is declared as a file, so nothing can be below it`, placeOfName(item));
      break;
    }
  }
}

/** What the image writes of its own policy is not also a declared file. */
function checkUpdateFiles(root: SourceMapping, report: Report): void {
  if (nodeAt(root, ['update']) === undefined) return;
  for (const item of entriesOf(root, 'files')) {
    const path = textAt(item, 'path') ?? '';
    if (!POLICY_PATHS.some((own) => path === own || path.startsWith(`${own}/`))) continue;
    report(`${quoted(path)} is written by Ingot itself, out of update and trust.yaml`, placeOfName(item));
  }
}

/** Somebody must be there who updates. */
function checkUnattended(root: SourceMapping, report: Report): void {
  const unattended = nodeAt(root, ['update', 'unattended']);
  if (unattended === undefined) return;
  const agent = nodeAt(root, ['agent']);
  if (agent !== undefined && !(agent.kind === 'scalar' && agent.value === false)) return;
  report('updates by itself take Ingot on the node: add `agent: true`', agent?.at ?? unattended.at);
}

function checkUnits(root: SourceMapping, report: Report): void {
  for (const unit of entriesOf(root, 'units')) {
    const name = quoted(textAt(unit, 'name') ?? 'the unit');
    const enabled = nodeAt(unit, ['enabled']);
    const masked = nodeAt(unit, ['masked']);
    const content = nodeAt(unit, ['content']);
    const isEnabled = enabled?.kind === 'scalar' && enabled.value === true;
    if (masked?.kind === 'scalar' && masked.value === true) {
      if (isEnabled) report(`${name} cannot be both enabled and masked`, masked.at);
      if (content !== undefined) report(`${name} is masked, so its content would never be used`, masked.at);
    }
    if (
      isEnabled &&
      content?.kind === 'scalar' &&
      typeof content.value === 'string' &&
      !/^\[Install\]\s*$/m.test(content.value)
    ) {
      report(`${name} is enabled, but its content has no [Install] section that says for what`, enabled.at);
    }
  }
}

function entriesOf(node: SourceNode, key: string): readonly SourceNode[] {
  const list = nodeAt(node, [key]);
  return list?.kind === 'list' ? list.items : [];
}

function textAt(node: SourceNode, key: string): string | undefined {
  const value = nodeAt(node, [key]);
  return value?.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined;
}

function placeOfName(item: SourceNode): Location {
  return (nodeAt(item, ['path']) ?? nodeAt(item, ['name']) ?? nodeAt(item, ['use']) ?? item).at;
}

/**
 * cloud-init's `NoCloud` data: user-data, meta-data and network-config. Of what cloud-init knows, this takes what a node
 * without it can honour; every other key is a warning, since such files are written for many kinds of machines.
 * https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
 */
import { gunzipSync } from 'node:zlib';
import * as z from 'zod';

import { digestOf } from '../../digest.ts';
import { type Finding, FindingsError } from '../../errors.ts';
import { sortFindings } from '../../spec/findings.ts';
import { NodeImageInput, SshKey, UserInput } from '../../spec/schema.ts';
import { applySchema } from '../../spec/source-schema.ts';
import { locationAt, nodeAt, parseSource, quoted, type SourceMapping } from '../../spec/source-tree.ts';
import { MachinePath } from './file-path.ts';
import { NetworkConfig, renderNetworks } from './network-config.ts';
import { Instance } from './provision-file.ts';
import type { ProvisionedFile, ProvisionedUser, Provisioning } from './provisioning.ts';

const CODE = 'PROVISION_INVALID';
const MAGIC = '#cloud-config';

export interface NoCloudFiles {
  /** Text of each, where it is there. */
  readonly userData?: string | undefined;
  readonly metaData?: string | undefined;
  readonly networkConfig?: string | undefined;
}

export interface ParsedCloudConfig {
  readonly provisioning: Provisioning;
  /** What is not honoured. */
  readonly warnings: readonly Finding[];
}

const hostname = NodeImageInput.shape.hostname;

const CloudUser = z.looseObject({
  name: UserInput.shape.name,
  gecos: UserInput.shape.gecos,
  shell: UserInput.shape.shell,
  uid: z.union([UserInput.shape.uid, z.string().regex(/^\d+$/, 'a number').transform(Number)]),
  groups: z.union([z.string(), z.array(z.string())]).optional(),
  ssh_authorized_keys: z.array(SshKey).optional(),
});

const WriteFile = z.looseObject({
  path: MachinePath,
  content: z.string().optional(),
  encoding: z
    .enum(['text/plain', 'b64', 'base64', 'gz+b64', 'gz+base64', 'gzip+b64', 'gzip+base64'])
    .optional(),
  owner: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]*(?::[a-z_][a-z0-9_-]*)?$/, 'a user, or user:group')
    .optional(),
  permissions: z
    .string()
    .regex(/^0?[0-7]{3,4}$/, 'octal permission bits in quotes, such as "0644"')
    .optional(),
});

export const CloudConfig = z.looseObject({
  hostname,
  fqdn: hostname,
  users: z.array(z.union([z.string(), CloudUser])).optional(),
  ssh_authorized_keys: z.array(SshKey).optional(),
  write_files: z.array(WriteFile).optional(),
});

const MetaData = z.looseObject({ 'instance-id': Instance.optional(), 'local-hostname': hostname });

/** Whether text is user-data of cloud-init rather than Ingot's own file. */
export function isCloudConfig(text: string): boolean {
  return text.startsWith(MAGIC);
}

/**
 * @param folder in which findings place the files
 * @param userDataName how findings name the first of them
 * @throws FindingsError PROVISION_INVALID with everything that is wrong in all of them
 */
export function parseCloudConfig(
  files: NoCloudFiles,
  folder: string,
  userDataName = 'user-data',
): ParsedCloudConfig {
  const name = (file: string): string => (folder === '' ? file : `${folder}/${file}`);
  const findings: Finding[] = [];
  const read = <T>(text: string | undefined, file: string, schema: z.ZodType<T>): Read<T> | undefined => {
    if (text === undefined || text.trim() === '') return undefined;
    const source = parseSource({ file: name(file), text }, CODE);
    findings.push(...source.findings);
    if (source.root === undefined) return undefined;
    const root = file === 'network-config' ? withoutWrapper(source.root) : source.root;
    const { value, findings: mistakes } = applySchema(root, schema, CODE);
    findings.push(...mistakes.map(({ finding }) => finding));
    return value === undefined ? undefined : { value, root };
  };
  const isPlain = files.userData === undefined || isCloudConfig(files.userData);
  if (!isPlain) findings.push(noConfig(name(userDataName)));
  const user = isPlain ? read(userDataOf(files.userData), userDataName, CloudConfig) : undefined;
  const meta = read(files.metaData, 'meta-data', MetaData);
  const network = read(files.networkConfig, 'network-config', NetworkConfig);
  const written = user === undefined ? [] : writtenFiles(user, findings);
  if (findings.some(({ severity }) => severity === 'error')) throw new FindingsError(sortFindings(findings));

  const host = user?.value.hostname ?? user?.value.fqdn ?? meta?.value['local-hostname'];
  const all = [files.userData, files.metaData, files.networkConfig].map((text) => text ?? '');
  return {
    provisioning: {
      instance: meta?.value['instance-id'] ?? digestOf(all.join('\0')),
      ...(host !== undefined && { hostname: host }),
      users: user === undefined ? [] : usersOf(user.value),
      networks: network === undefined ? {} : renderNetworks(network.value),
      files: written,
    },
    warnings: user === undefined ? [] : sortFindings(unknownKeys(user.root)),
  };
}

interface Read<T> {
  readonly value: T;
  readonly root: SourceMapping;
}

/** A comment line alone is no YAML to complain of. */
function userDataOf(text: string | undefined): string | undefined {
  return text === undefined || /^#cloud-config\s*$/.test(text) ? undefined : text;
}

/** Some tools put all of network-config under one key. */
function withoutWrapper(root: SourceMapping): SourceMapping {
  const inner = nodeAt(root, ['network']);
  return inner?.kind === 'mapping' && root.members.size === 1 ? inner : root;
}

function noConfig(file: string): Finding {
  return {
    code: CODE,
    severity: 'error',
    message: `does not begin with ${MAGIC}: scripts, archives and multipart data are not run on a node`,
    location: { file, line: 1, column: 1 },
  };
}

/** cloud-init gives the keys at the top to its default user, which an image has not: they are root's. */
function usersOf(config: z.infer<typeof CloudConfig>): ProvisionedUser[] {
  const users = (config.users ?? []).filter((user) => typeof user !== 'string');
  const own = users.map(({ name, gecos, shell, uid, groups = [], ssh_authorized_keys: keys = [] }) => ({
    name,
    ...(gecos !== undefined && { gecos }),
    ...(shell !== undefined && { shell }),
    ...(uid !== undefined && { uid }),
    groups: typeof groups === 'string' ? groups.split(/[\s,]+/).filter((group) => group !== '') : groups,
    sshKeys: keys,
  }));
  const rootKeys = config.ssh_authorized_keys ?? [];
  if (rootKeys.length === 0) return own;
  const root = own.find(({ name }) => name === 'root') ?? { name: 'root', groups: [], sshKeys: [] };
  return [...own.filter((user) => user !== root), { ...root, sshKeys: [...root.sshKeys, ...rootKeys] }];
}

function writtenFiles(
  { value, root }: Read<z.infer<typeof CloudConfig>>,
  findings: Finding[],
): ProvisionedFile[] {
  return (value.write_files ?? []).flatMap((file, index) => {
    const { path, content = '', encoding = 'text/plain', owner = 'root:root', permissions = '0644' } = file;
    const [user = 'root', group = user] = owner.split(':');
    try {
      const contents = decode(content, encoding);
      return [{ path, contents, mode: Number.parseInt(permissions, 8), user, group }];
    } catch {
      findings.push({
        code: CODE,
        severity: 'error',
        message: `write_files[${index}].content is not what its encoding says`,
        location: locationAt(root, ['write_files', index, 'content']),
      });
      return [];
    }
  });
}

function decode(content: string, encoding: string): Uint8Array {
  if (encoding === 'text/plain') return Buffer.from(content);
  const text = content.replaceAll(/\s/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw new SyntaxError('not base64');
  const bytes = Buffer.from(text, 'base64');
  return encoding.startsWith('gz') ? gunzipSync(bytes, { maxOutputLength: 16 * 1024 * 1024 }) : bytes;
}

/** What cloud-init may know and we do not honour. */
function unknownKeys(root: SourceMapping): Finding[] {
  const known = Object.keys(CloudConfig.shape);
  const lists = { users: Object.keys(CloudUser.shape), write_files: Object.keys(WriteFile.shape) };
  const ignored = (mapping: SourceMapping, names: readonly string[]): Finding[] =>
    [...mapping.members]
      .filter(([key]) => !names.includes(key))
      .map(([key, { keyAt }]) => ({
        code: CODE,
        severity: 'warning',
        message: `${quoted(key)} is ignored`,
        location: keyAt,
      }));
  const inner = Object.entries(lists).flatMap(([key, names]) => {
    const list = nodeAt(root, [key]);
    const items = list?.kind === 'list' ? list.items : [];
    return items.flatMap((item) => (item.kind === 'mapping' ? ignored(item, names) : []));
  });
  return [...ignored(root, known), ...inner];
}

/** Ingot's own file with provisioning data: YAML or JSON. Messages follow `src/spec/source-schema.ts`. */
import * as z from 'zod';

import { digestOf } from '../../digest.ts';
import { type Finding, FindingsError } from '../../errors.ts';
import { sortFindings } from '../../spec/findings.ts';
import { FileInput, NodeImageInput, UserInput } from '../../spec/schema.ts';
import { applySchema } from '../../spec/source-schema.ts';
import { locationAt, parseSource, type SourceMapping, type SourcePath } from '../../spec/source-tree.ts';
import { MachinePath } from './file-path.ts';
import { NetworkConfig, renderNetworks } from './network-config.ts';
import type { Provisioning } from './provisioning.ts';

export const Instance = z.string().regex(/^[\w.:@-]{1,128}$/, 'up to 128 letters, digits, and . _ : @ -');

export const ProvisionFile = z.strictObject({
  instance: Instance.optional(),
  hostname: NodeImageInput.shape.hostname,
  users: z.array(UserInput).optional(),
  network: NetworkConfig.optional(),
  files: z.array(FileInput.extend({ path: MachinePath })).optional(),
});

const CODE = 'PROVISION_INVALID';

/**
 * @param file as findings name it
 * @throws FindingsError PROVISION_INVALID with everything that is wrong
 */
export function parseProvisionFile(text: string, file: string): Provisioning {
  const { root, findings } = parseSource({ file, text }, CODE);
  if (root === undefined) throw new FindingsError(sortFindings(findings));
  const { value, findings: mistakes } = applySchema(root, ProvisionFile, CODE);
  const all = [...findings, ...mistakes.map(({ finding }) => finding), ...duplicates(value, root)];
  if (value === undefined || all.length > 0) throw new FindingsError(sortFindings(all));
  return {
    instance: value.instance ?? digestOf(text),
    ...(value.hostname !== undefined && { hostname: value.hostname }),
    users: (value.users ?? []).map(({ name, uid, gecos, shell, groups = [], sshKeys = [] }) => ({
      name,
      ...(uid !== undefined && { uid }),
      ...(gecos !== undefined && { gecos }),
      ...(shell !== undefined && { shell }),
      groups,
      sshKeys,
    })),
    networks: value.network === undefined ? {} : renderNetworks(value.network),
    files: (value.files ?? []).map(({ path, content, mode = '0644', user = 'root', group = 'root' }) => ({
      path,
      contents: Buffer.from(content),
      mode: Number.parseInt(mode, 8),
      user,
      group,
    })),
  };
}

/** One user, one path: which of two is meant, nobody can know. */
function duplicates(value: z.infer<typeof ProvisionFile> | undefined, root: SourceMapping): Finding[] {
  const lists = [
    { key: 'users', names: (value?.users ?? []).map(({ name }) => name), member: 'name' },
    { key: 'files', names: (value?.files ?? []).map(({ path }) => path), member: 'path' },
  ];
  return lists.flatMap(({ key, names, member }) =>
    names.flatMap((name, index) =>
      names.indexOf(name) === index
        ? []
        : [finding(`${key}[${index}].${member} is given twice`, root, [key, index, member])],
    ),
  );
}

function finding(message: string, root: SourceMapping, path: SourcePath): Finding {
  return { code: CODE, severity: 'error', message, location: locationAt(root, path) };
}

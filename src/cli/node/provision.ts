/** `ingot node provision`: what a machine is told once, when it starts for the first time. */
import { join, resolve } from 'node:path';

import { applyProvisioning, type Applied } from '../../node/provision/apply.ts';
import {
  findProvisioning,
  type ProvisioningSource,
  readProvisioning,
} from '../../node/provision/find-source.ts';
import { formatCount } from '../../report/format.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { lockNode, openNode, STATE_FOLDER } from './open-node.ts';

export interface ProvisionOptions {
  readonly from?: string;
  readonly check?: true;
}

const PROVISION_FOLDER = join(STATE_FOLDER, 'provision');

export async function provision(context: CommandContext, options: ProvisionOptions): Promise<CommandResult> {
  const { reporter, now, signal } = context;
  if (options.check === true) return renderCheck(await findSource(context, options));
  const { journal } = await openNode(context);
  await using _lock = await lockNode(context);
  const source = await findSource(context, options);
  if (source === undefined) return nothing();
  for (const { message, location } of source.parsed.warnings) {
    reporter.warning(`${location?.file ?? ''}:${location?.line ?? 0}: ${message}`);
  }
  const applied = await applyProvisioning({ source, stateFolder: PROVISION_FOLDER, now, signal });
  if (applied.state === 'applied') {
    const { instance } = applied;
    await journal.append({
      update: `provision-${instance}`,
      event: 'provisioned',
      reason: `${sentenceOf(source)} from ${source.name}`,
    });
  }
  return renderApplied(applied, source);
}

async function findSource(
  { cwd, env, signal }: CommandContext,
  { from }: ProvisionOptions,
): Promise<ProvisioningSource | undefined> {
  if (from !== undefined) return { name: from, parsed: await readProvisioning(resolve(cwd, from), from) };
  const credentials = env['CREDENTIALS_DIRECTORY'];
  return findProvisioning({ seedFile: join(PROVISION_FOLDER, 'seed'), credentials, signal });
}

function nothing(): CommandResult {
  return { json: { state: 'nothing' }, text: 'no provisioning data is here' };
}

function renderCheck(source: ProvisioningSource | undefined): CommandResult {
  if (source === undefined) return nothing();
  const { provisioning, warnings } = source.parsed;
  return {
    json: { state: 'found', source: source.name, ...summaryOf(source), warnings },
    text: [
      `${source.name}: ok, ${sentenceOf(source)} for ${provisioning.instance}`,
      ...warnings.map(
        ({ message, location }) => `${location?.file ?? ''}:${location?.line ?? 0}: ${message}`,
      ),
    ].join('\n'),
  };
}

function renderApplied(applied: Applied, source: ProvisioningSource): CommandResult {
  const { state, instance, files } = applied;
  return {
    json: { state, source: source.name, ...summaryOf(source), files },
    text:
      state === 'applied'
        ? `${instance} is applied from ${source.name}: ${sentenceOf(source)}`
        : `${instance} was applied before`,
  };
}

/** Names and counts: what is in files and keys is nobody's to read in a log. */
function summaryOf({ parsed: { provisioning } }: ProvisioningSource): Readonly<Record<string, unknown>> {
  const { instance, hostname, users, networks, files } = provisioning;
  return {
    instance,
    ...(hostname !== undefined && { hostname }),
    users: users.map(({ name, sshKeys }) => ({ name, sshKeys: sshKeys.length })),
    networks: Object.keys(networks),
    provisioned: files.map(({ path }) => path),
  };
}

function sentenceOf({ parsed: { provisioning } }: ProvisioningSource): string {
  const { hostname, users, networks, files } = provisioning;
  const keys = users.reduce((sum, { sshKeys }) => sum + sshKeys.length, 0);
  const parts = [
    ...(hostname === undefined ? [] : [`host name ${hostname}`]),
    ...(users.length === 0 ? [] : [`${formatCount(users.length, 'user')} with ${formatCount(keys, 'key')}`]),
    ...(Object.keys(networks).length === 0 ? [] : [formatCount(Object.keys(networks).length, 'network')]),
    ...(files.length === 0 ? [] : [formatCount(files.length, 'file')]),
  ];
  return parts.length === 0 ? 'nothing' : parts.join(', ');
}

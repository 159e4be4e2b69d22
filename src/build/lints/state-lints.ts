/** Does the image leave what belongs to a node, and to the machine that built it, to them? */
import { pathsInTmpfiles } from '../seal/var.ts';
import { parseGroup, parsePasswd } from '../seal/accounts.ts';
import { type EntryWatcher, type ImageEntry, type ImageRoot, lstatIn } from './image-root.ts';

/** systemd makes an identity on the first boot, when the file is empty. */
export async function checkMachineId({ fs }: ImageRoot): Promise<string[]> {
  const findings: string[] = [];
  const stats = await lstatIn(fs, '/etc/machine-id');
  if (stats !== undefined && (!stats.isFile() || stats.size > 0)) findings.push('/etc/machine-id is not empty');
  for (const path of ['/var/lib/dbus/machine-id', '/var/lib/systemd/random-seed', '/etc/.pwd.lock']) {
    if ((await lstatIn(fs, path)) !== undefined) findings.push(`${path} exists`);
  }
  return findings;
}

/** Keys that every node would share. */
export async function checkSshHostKeys({ fs }: ImageRoot): Promise<string[]> {
  return (await fs.list('/etc/ssh'))
    .filter((name) => /^ssh_host_.*key/.test(name))
    .map((name) => `/etc/ssh/${name}`);
}

/** A node installs nothing, and where the builder got its packages is nobody's business. */
export async function checkPackageSources({ fs }: ImageRoot): Promise<string[]> {
  const findings = (await fs.list('/etc/apt/sources.list.d')).map((name) => `/etc/apt/sources.list.d/${name}`);
  if ((await lstatIn(fs, '/etc/apt/sources.list')) !== undefined) findings.push('/etc/apt/sources.list');
  for (const name of await fs.list('/etc/apt/apt.conf.d')) {
    const text = (await fs.readTextIfPresent(`/etc/apt/apt.conf.d/${name}`)) ?? '';
    if (/^[^#/]*\bproxy\b/im.test(text)) findings.push(`/etc/apt/apt.conf.d/${name} names a proxy`);
  }
  return findings;
}

export function judgeVarLog({ path, stats }: ImageEntry): string | undefined {
  return path.startsWith('var/log/') && !stats.isDirectory() ? `/${path}` : undefined;
}

/** /var is the node's: what an image holds there would be copied once, on the first deployment, and then rot. */
export async function watchVarTmpfiles({ fs }: ImageRoot): Promise<EntryWatcher> {
  const fragments: string[] = [];
  for (const folder of ['/usr/lib/tmpfiles.d', '/etc/tmpfiles.d']) {
    for (const name of await fs.list(folder)) fragments.push(await fs.readText(`${folder}/${name}`));
  }
  const known = pathsInTmpfiles(fragments);
  const findings: string[] = [];
  return {
    entry: ({ path, stats }) => {
      if (!path.startsWith('var/')) return;
      if (!stats.isDirectory() && !stats.isSymbolicLink()) findings.push(`/${path} is a file`);
      else if (!known.has(`/${path}`)) findings.push(`/${path} is in no tmpfiles.d fragment`);
    },
    findings: () => findings,
  };
}

/** Every account can be made again from sysusers.d(5), so that an image explains its whole /etc/passwd. */
export async function checkSysusers({ fs }: ImageRoot): Promise<string[]> {
  const users = new Set<string>();
  const groups = new Set<string>();
  for (const folder of ['/usr/lib/sysusers.d', '/etc/sysusers.d']) {
    for (const name of await fs.list(folder)) {
      for (const line of (await fs.readText(`${folder}/${name}`)).split('\n')) {
        const [type = '', account = '', third = ''] = line.trim().split(/\s+/);
        if (/^[um]/.test(type)) users.add(account);
        // A user has a group of its name unless its line names another.
        if (/^[ugm]/.test(type)) groups.add(account);
        if (type === 'm') groups.add(third);
      }
    }
  }
  const passwd = parsePasswd(await fs.readText('/etc/passwd'));
  const group = parseGroup(await fs.readText('/etc/group'));
  return [
    ...passwd.filter(({ name }) => !users.has(name)).map(({ name }) => `/etc/passwd: ${name} is in no sysusers.d`),
    ...group.filter(({ name }) => !groups.has(name)).map(({ name }) => `/etc/group: ${name} is in no sysusers.d`),
  ];
}

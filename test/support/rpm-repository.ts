/** rpm packages, repositories of them, and a base image made of them. Debian: rpm, createrepo-c, busybox. */
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { run } from '../../src/proc/run.ts';
import { imageOfTree, type LayeredImage } from './base-image.ts';
import type { TestKey } from './mirror.ts';

export interface RpmSpec {
  readonly name: string;
  readonly version?: string;
  /** Further lines of its preamble, such as `Requires: libhello`. */
  readonly preamble?: readonly string[];
  /** Content by path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Of those, the configuration files. */
  readonly configuration?: readonly string[];
  /** Scripts by section, such as `post`. */
  readonly scripts?: Readonly<Record<string, string>>;
  /** A tree that is packed as it is. */
  readonly tree?: string;
}

/** Makes a package and puts it into `repository`. The same is the same bytes. */
export async function buildRpm(scratch: string, repository: string, spec: RpmSpec): Promise<void> {
  const { name, version = '1.0', preamble = [], files = {}, configuration = [], scripts = {} } = spec;
  const work = await mkdtemp(join(scratch, 'rpm-'));
  const tree = spec.tree ?? join(work, 'tree');
  await mkdir(tree, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), content);
  }
  const listed = spec.tree === undefined ? Object.keys(files) : await pathsIn(tree);
  const lines = [
    '%global debug_package %{nil}',
    '%global __os_install_post %{nil}',
    `Name: ${name}`,
    `Version: ${version}`,
    'Release: 1',
    `Summary: ${name}`,
    'License: MIT',
    'AutoReqProv: no',
    ...(spec.tree === undefined ? ['BuildArch: noarch'] : []),
    ...preamble,
    '%description',
    name,
    '%install',
    `mkdir -p %{buildroot} && cp -a ${tree}/. %{buildroot}/`,
    ...Object.entries(scripts).flatMap(([section, text]) => [`%${section}`, text]),
    '%files',
    ...listed.map((path) => `${configuration.includes(path) ? '%config(noreplace) ' : ''}"${path}"`),
    '',
  ];
  const file = join(work, `${name}.spec`);
  await writeFile(file, lines.join('\n'));
  const defines = Object.entries({
    _topdir: join(work, 'top'),
    _rpmdir: repository,
    _build_name_fmt: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
    _buildhost: 'localhost',
    use_source_date_epoch_as_buildtime: '1',
    clamp_mtime_to_source_date_epoch: '1',
  }).flatMap(([key, value]) => ['--define', `${key} ${value}`]);
  const env = { SOURCE_DATE_EPOCH: '1700000000' };
  await run(['rpmbuild', '--quiet', ...defines, '-bb', file], { env, cwd: work });
  await rm(work, { recursive: true, force: true });
}

export async function indexRepository(repository: string): Promise<void> {
  await run(['createrepo_c', '--quiet', repository]);
}

async function pathsIn(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length))
    .sort();
}

/** An image to build on in a new layout: its one package is all that it has. */
export async function makeSmallBase(
  work: string,
  layout: string,
  repositoryFile: string,
): Promise<LayeredImage> {
  const [tree, packages, root] = ['small-base', 'base-packages', 'base-root'].map((name) =>
    join(work, name),
  ) as [string, string, string];
  await mkdir(packages);
  await makeSmallRoot(tree, repositoryFile);
  await buildRpm(work, packages, { name: 'small-base', tree, preamble: ['Provides: /bin/sh'] });
  await installRpms(root, [await rpmFile(packages, 'small-base')], '/var/lib/rpm');
  return imageOfTree(layout, root);
}

/** Signs a package, which changes its bytes. */
export async function signRpm(file: string, key: TestKey): Promise<void> {
  const settings = ['__gpg /usr/bin/gpg', `_gpg_name ${await key.fingerprint()}`, `_gpg_path ${key.home}`];
  const defines = settings.flatMap((setting) => ['--define', setting]);
  await run(['rpmsign', ...defines, '--addsign', file], { env: { GNUPGHOME: key.home } });
}

/** What scripts of packages run. */
const PROGRAMS = ['/bin/busybox', '/usr/sbin/useradd', '/usr/sbin/groupadd'];
const APPLETS = ['sh', 'true', 'cat', 'grep', 'sleep', 'nc'];

/** The root of a very small system: a shell, what makes accounts, the libraries of both, and where packages are. */
async function makeSmallRoot(tree: string, repositoryFile: string): Promise<void> {
  for (const folder of ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'etc/yum.repos.d', 'var/lib']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(tree, name));
  for (const program of PROGRAMS) {
    await copyFile(program, join(tree, program.replace(/^\/bin\//, '/usr/bin/')));
    const { stdout } = await run(['ldd', program]);
    for (const [library] of stdout.matchAll(/\/lib\S+/g)) {
      const place = join(tree, 'usr', library.replace(/^\/usr/, ''));
      await mkdir(dirname(place), { recursive: true });
      await copyFile(library, place);
    }
  }
  for (const applet of APPLETS) await symlink('busybox', join(tree, 'usr/bin', applet));
  const files = {
    'usr/lib/os-release': 'ID=smallrpm\nVERSION_ID=7.2\nNAME="Small"\n',
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
    'etc/group': 'root:x:0:\n',
    'etc/login.defs':
      'SYS_UID_MIN 201\nSYS_UID_MAX 999\nSYS_GID_MIN 201\nSYS_GID_MAX 999\nCREATE_MAIL_SPOOL no\n',
    'etc/yum.repos.d/small.repo': repositoryFile,
  };
  for (const [path, content] of Object.entries(files)) await writeFile(join(tree, path), content);
}

/** Installs packages of a repository into an empty root, its database where images of the time had it. */
async function installRpms(root: string, packages: readonly string[], database: string): Promise<void> {
  await mkdir(join(root, database), { recursive: true });
  const rpm = ['rpm', '--root', root, '--dbpath', database, '--nodeps', '--noscripts', '-i'] as const;
  await run([...rpm, ...packages], { env: { SOURCE_DATE_EPOCH: '1700000000' } });
}

/** Of an installed root: what `rpm --verify --all` says, a line for each file. */
export async function verifyRpms(root: string, database: string): Promise<string[]> {
  const argv = ['rpm', '--root', root, '--dbpath', database, '--verify', '--all'] as const;
  const { stdout } = await run(argv, { okExitCodes: [0, 1] });
  return stdout.split('\n').filter((line) => line !== '');
}

/** The one file of a package in a repository. */
export async function rpmFile(repository: string, name: string): Promise<string> {
  const file = (await readdir(repository)).find(
    (entry) => entry.startsWith(`${name}-`) && entry.endsWith('.rpm'),
  );
  if (file === undefined) throw new Error(`${basename(repository)} has no ${name}`);
  return join(repository, file);
}

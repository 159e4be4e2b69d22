/**
 * OpenSSH's server on loopback, without PAM, for a key that was made for the test. It has a root of its own, of Debian
 * sid's packages, so nothing of the machine's ssh is used or touched; commands run on the machine itself.
 */
import { spawn } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Argv, quoteArgv, run } from '../../src/proc/run.ts';
import { freePort, listens } from './ports.ts';
import { sidTools } from './sid-tools.ts';

export interface SshServer extends AsyncDisposable {
  /** `ssh://root@127.0.0.1:PORT`. */
  readonly url: string;
  readonly port: number;
  /** ssh_config(5) with the key and the known host. */
  readonly configuration: string;
  /** What `ingot` is for who logs in. */
  setIngot(argv: Argv | undefined): Promise<void>;
}

/** Its folder, in its root. */
const INSIDE = '/given';

/** @param folder empty, and removed by the caller */
export async function startSshServer(folder: string): Promise<SshServer> {
  const { path } = await sidTools(['openssh-server', 'dash', 'coreutils', 'util-linux']);
  const port = await freePort();
  const at = (name: string): string => join(folder, name);
  for (const name of ['etc', 'bin', 'home']) await mkdir(at(name), { recursive: true });
  for (const name of ['host', 'user']) {
    await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', at(name)]);
  }
  const [hostKey, userKey] = await Promise.all(
    ['host.pub', 'user.pub'].map((name) => readFile(at(name), 'utf8')),
  );
  await writeFile(
    at('etc/passwd'),
    'root:x:0:0::/root:/bin/sh\nsshd:x:998:65534::/run/sshd:/usr/sbin/nologin\n',
  );
  await writeFile(at('etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  await writeFile(at('etc/authorized_keys'), userKey ?? '');
  await writeFile(
    at('etc/sshd_config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${INSIDE}/host`,
      'AuthorizedKeysFile /etc/authorized_keys',
      ...['UsePAM no', 'StrictModes no', 'PidFile none', 'PasswordAuthentication no', 'LogLevel ERROR'],
      `SetEnv PATH=${INSIDE}/bin:/usr/bin`,
      '',
    ].join('\n'),
  );
  await writeFile(at('known_hosts'), `[127.0.0.1]:${port} ${hostKey ?? ''}`);
  const configuration = at('ssh_config');
  await writeFile(
    configuration,
    [
      `UserKnownHostsFile "${at('known_hosts')}"`,
      'GlobalKnownHostsFile none',
      'StrictHostKeyChecking yes',
      `IdentityFile "${at('user')}"`,
      'IdentitiesOnly yes',
      'IdentityAgent none',
      '',
    ].join('\n'),
  );
  const [program, ...args] = serverArgv(path, folder);
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await listening(port, () => said);
  return {
    url: `ssh://root@127.0.0.1:${port}`,
    port,
    configuration,
    setIngot: async (argv) => {
      const script =
        argv === undefined
          ? 'exit 127'
          : // Out of the server's root: the command's own namespaces are made on the machine.
            `exec nsenter --mount=/proc/${process.pid}/ns/mnt -- ${quoteArgv(argv)} "$@"`;
      await writeFile(at('bin/ingot'), `#!/bin/sh\n${script}\n`);
      await chmod(at('bin/ingot'), 0o755);
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function serverArgv(root: string, folder: string): Argv {
  const links = ['bin', 'sbin', 'lib', 'lib64'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`]);
  return [
    ...(['bwrap', '--die-with-parent', '--cap-add', 'ALL', '--tmpfs', '/'] as const),
    ...['--ro-bind', join(root, 'usr'), '/usr', ...links, '--ro-bind', join(folder, 'etc'), '/etc'],
    ...['--proc', '/proc', '--dev', '/dev', '--dir', '/run/sshd', '--dir', '/tmp', '--dir', '/root'],
    ...['--ro-bind', folder, INSIDE, '--clearenv', '--chdir', '/', '--'],
    ...['/usr/sbin/sshd', '-D', '-e', '-f', '/etc/sshd_config'],
  ];
}

async function listening(port: number, said: () => string): Promise<void> {
  for (let tries = 0; !(await listens(port)); tries += 1) {
    if (tries > 200) throw new Error(`sshd does not start: ${said()}`);
    await sleep(50);
  }
}

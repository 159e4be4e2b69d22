/**
 * Files that may run with another user's or group's rights, each with its reason. Anything else that does is a
 * finding: new ways to root come into an image by decision, not by dependency.
 */
export interface PrivilegedFile {
  /** Relative to the root. */
  readonly path: string;
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  readonly reason: string;
}

const setuid = (path: string, reason: string): PrivilegedFile => ({
  path,
  mode: 0o4755,
  owner: 'root',
  group: 'root',
  reason,
});
const setgid = (path: string, group: string, reason: string): PrivilegedFile => ({
  path,
  mode: 0o2755,
  owner: 'root',
  group,
  reason,
});

export const PRIVILEGED_FILES: readonly PrivilegedFile[] = [
  setuid('usr/bin/su', 'util-linux: change user after authentication'),
  setuid('usr/bin/mount', 'mount: file systems that fstab grants to users'),
  setuid('usr/bin/umount', 'mount: file systems that fstab grants to users'),
  setuid('usr/bin/newgrp', 'login: change the current group'),
  setuid('usr/bin/passwd', 'passwd: change the own password'),
  setuid('usr/bin/chfn', 'passwd: change the own full name'),
  setuid('usr/bin/chsh', 'passwd: change the own shell'),
  setuid('usr/bin/gpasswd', 'passwd: group administrators'),
  setgid('usr/bin/chage', 'shadow', 'passwd: read the own password ageing'),
  setgid('usr/bin/expiry', 'shadow', 'passwd: check the own password ageing'),
  setgid('usr/sbin/unix_chkpwd', 'shadow', 'libpam-modules-bin: check the own password'),
  setuid('usr/bin/sudo', 'sudo: what its policy grants'),
  setuid('usr/bin/newuidmap', 'uidmap: user namespaces of rootless containers'),
  setuid('usr/bin/newgidmap', 'uidmap: user namespaces of rootless containers'),
  setuid('usr/bin/nvidia-modprobe', 'nvidia-modprobe: device files of GPUs, made on first use'),
  setuid('usr/bin/fusermount3', 'fuse3: user mounts'),
  setuid('usr/bin/pkexec', 'pkexec: what polkit grants'),
  setuid('usr/lib/polkit-1/polkit-agent-helper-1', 'polkitd: authentication'),
  setuid('usr/lib/openssh/ssh-keysign', 'openssh-client: host-based authentication, off by default'),
  setgid('usr/bin/ssh-agent', '_ssh', 'openssh-client: guards the agent against ptrace'),
  setgid('usr/bin/crontab', 'crontab', 'cron: the own table'),
  {
    path: 'usr/lib/dbus-1.0/dbus-daemon-launch-helper',
    mode: 0o4754,
    owner: 'root',
    group: 'messagebus',
    reason: 'dbus: start system services',
  },
];

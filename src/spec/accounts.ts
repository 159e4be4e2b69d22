/** Accounts that every Debian system has before a declaration says anything (base-passwd, systemd, dbus, ssh). */

const STATIC = `root daemon bin sys sync adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy
  tape sudo audio dip www-data backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup
  nobody _apt input sgx clock kvm render messagebus sshd _ssh systemd-journal systemd-network systemd-resolve
  systemd-timesync systemd-coredump polkitd netdev crontab`;

/** Names of system users and groups together: a user always has a group of its own name. */
export const SYSTEM_ACCOUNTS: ReadonlySet<string> = new Set(STATIC.split(/\s+/));

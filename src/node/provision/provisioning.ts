/** What a machine is told once, when it starts for the first time. Both formats come to this. */

export interface ProvisionedUser {
  readonly name: string;
  readonly uid?: number;
  readonly gecos?: string;
  readonly shell?: string;
  readonly groups: readonly string[];
  readonly sshKeys: readonly string[];
}

export interface ProvisionedFile {
  readonly path: string;
  readonly contents: Uint8Array;
  readonly mode: number;
  readonly user: string;
  readonly group: string;
}

export interface Provisioning {
  /** Applied when it is another than the last: data that came again is not applied again. */
  readonly instance: string;
  readonly hostname?: string;
  readonly users: readonly ProvisionedUser[];
  /** Files of systemd-networkd by their names. */
  readonly networks: Readonly<Record<string, string>>;
  readonly files: readonly ProvisionedFile[];
}

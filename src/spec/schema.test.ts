import { describe, expect, it } from 'vitest';

import { complaints, HEAD, show, SSH_KEY } from '../../test/support/complaints.ts';
import { renderHttpCheck } from './health-check.ts';
import { parseSpec } from './parse.ts';

describe('values', () => {
  it.each([
    ['packages: htop', '3:11 packages must be a list, not text'],
    ['packages: [3]', '3:12 packages[0] must be text, not a number; write "3"'],
    ['packages: [HTop]', '3:12 packages[0] must be a Debian package name, or name=version, not "HTop"'],
    ['packages: [a b]', '3:12 packages[0] must be a package name, or name=version, not "a b"'],
    ['packages: [htop, jq=1, jq=2]', '3:24 the package "jq" is given twice'],
    ['addons: [ssh, ssh]', '3:15 the addon "ssh" is given twice'],
    ['kernel: {version: 6.10}', '3:19 kernel.version must be text, not a number; write "6.10"'],
    ['kernel: [cloud]', '3:9 kernel must be text or a mapping, not a list'],
    ['version:', '3:1 version must be text, not nothing'],
    ['arch: arm46', /^3:7 arch must be .*amd64.*arm64, not "arm46"/],
    [
      'gpus: [{use: h100-sxm, mig: {1g.10g: 1}}]',
      '3:30 the key "1g.10g" in gpus[0].mig must be a MIG profile, such as 1g.10gb',
    ],
    ['gpus: [{use: h100-sxm, mig: {1g.10gb: 8}}]', '3:39 gpus[0].mig.1g.10gb must be at most 7'],
    ['runtimes: [{use: vllm, features: [fp8, fp8]}]', '3:40 the feature "fp8" is given twice in runtimes[0]'],
    ['gpus: [{mig: {1g.10gb: 1}}]', '3:8 gpus[0].use is missing'],
    ['gpus: [l4, {use: l4}]', '3:18 the GPU "l4" is given twice'],
    ['hostname: Node_1', /^3:11 hostname must be a host name: .*, not "Node_1"$/],
    [`hostname: ${'a'.repeat(64)}`, /^3:11 hostname must be a host name/],
    ['users: [{name: root}]', '3:16 "root" is an account of the system and cannot be declared'],
    ['users: [{name: Ada}]', /^3:16 users\[0\]\.name must be a user name/],
    ['users: [{name: ada}, {name: ada}]', '3:29 the user "ada" is given twice'],
    ['users: [{name: ada, uid: 0}]', '3:26 users[0].uid must be at least 1000'],
    ['users: [{name: ada, uid: 1e3.5}]', /^3:26 users\[0\]\.uid must be a number, not text$/],
    ['users: [{name: a, uid: 1001}, {name: b, uid: 1001}]', '3:46 uid 1001 already belongs to "a"'],
    ['users: [{name: ada, shell: bash}]', '3:28 users[0].shell must be an absolute path, not "bash"'],
    ['users: [{name: ada, groups: [sudo, sudo]}]', '3:36 the group "sudo" is given twice in users[0]'],
    ['users: [{uid: 1001}]', '3:9 users[0].name is missing'],
    ['groups: [{name: sudo}]', '3:17 "sudo" is an account of the system and cannot be declared'],
    ['files: [{path: /opt/x, content: a}]', /^3:16 files\[0\]\.path must be an absolute path under \/etc/],
    ['files: [{path: etc/x, content: a}]', /^3:16 files\[0\]\.path must be an absolute path/],
    ['files: [{path: /etc/../root/x, content: a}]', /^3:16 files\[0\]\.path is not a plain path/],
    ['files: [{path: /etc//x, content: a}]', /^3:16 files\[0\]\.path is not a plain path/],
    ['files: [{path: /etc/x/, content: a}]', /^3:16 files\[0\]\.path is not a plain path/],
    ['files: [{path: /etc/shadow, content: a}]', /^3:16 files\[0\]\.path is written by Ingot itself/],
    ['files: [{path: /usr/etc/x, content: a}]', /^3:16 files\[0\]\.path is written by Ingot itself/],
    [
      'files: [{path: /etc/apt/sources.list.d/x.sources, content: a}]',
      /^3:16 files\[0\]\.path is a package source, which no image has/,
    ],
    ...['http://127.0.0.1:65536/', 'http://127.0.0.1:0/', 'http://10.0.0.1:80/', 'https://localhost:80/'].map(
      (address): [string, RegExp] => [
        `health: [{name: answers, http: "${address}"}]`,
        /^3:32 health\[0\]\.http must be an address of the node itself/,
      ],
    ),
    ['files: [{path: /etc/x, content: 3}]', '3:33 files[0].content must be text, not a number; write "3"'],
    ['files: [{path: /etc/x}]', '3:9 files[0].content is missing'],
    ['files: [{path: /etc/x, content: a, mode: 0644}]', /must be text, not a number; write "0644"$/],
    ['files: [{path: /etc/x, content: a, mode: "0984"}]', /^3:42 files\[0\]\.mode must be octal/],
    [
      'files: [{path: /etc/x, content: a}, {path: /etc/x, content: b}]',
      '3:44 the file "/etc/x" is given twice',
    ],
    [
      'files: [{path: /etc/x, content: a}, {path: /etc/x/y, content: b}]',
      '3:44 "/etc/x" is declared as a file, so nothing can be below it',
    ],
    ['units: [{name: chrony}]', /^3:16 units\[0\]\.name must be a unit name with its suffix/],
    ['units: [{name: a.service}, {name: a.service}]', '3:35 the unit "a.service" is given twice'],
    ['units: [{name: a.service, enabled: yes}]', '3:36 units[0].enabled must be true or false, not text'],
    [
      'units: [{name: a.service, enabled: true, masked: true}]',
      '3:50 "a.service" cannot be both enabled and masked',
    ],
    ['units: [{name: a.service, content: hello}]', /^3:36 units\[0\]\.content is not a unit file/],
    [
      'units: [{name: a.service, enabled: true, content: "[Service]\\nExecStart=/bin/true\\n"}]',
      '3:36 "a.service" is enabled, but its content has no [Install] section that says for what',
    ],
    ['kernelArguments: [a b]', /^3:19 kernelArguments\[0\] must be one kernel argument/],
    ['kernelArguments: [\'a="b"\']', /^3:19 kernelArguments\[0\] must be one kernel argument without quotes/],
    ['kernelArguments: ["a\\nb"]', /^3:19 kernelArguments\[0\] must be one kernel argument/],
    ['kernelArguments: [root=/dev/sda]', /^3:19 kernelArguments\[0\] is set by Ingot itself/],
    ['kernelArguments: [ostree=x]', /^3:19 kernelArguments\[0\] is set by Ingot itself/],
    ['kernelArguments: [rw]', /^3:19 kernelArguments\[0\] is set by Ingot itself/],
    ['kernelArguments: [quiet, quiet]', '3:26 the kernel argument "quiet" is given twice'],
    ['health: [{name: a, run: x}, {name: a, run: y}]', '3:36 the health check "a" is given twice'],
    ['health: [{name: a, run: "  "}]', '3:25 health[0].run must be a shell command, not "  "'],
    [
      'health: [{name: a, run: x, timeout: 60}]',
      '3:37 health[0].timeout must be text, not a number; write "60"',
    ],
    [
      'health: [{name: a, run: x, timeout: 0s}]',
      '3:37 health[0].timeout must be a time such as 60s or 2m, not "0s"',
    ],
    ['gpus: [H100]', /^3:8 gpus\[0\] must be a GPU, such as h100-sxm, .* in lower case, not "H100"$/],
    ['gpus: [l40s, "10de:26b9", l40s]', '3:27 the GPU "l40s" is given twice'],
    ['gpus: l40s', '3:7 gpus must be a list, not text'],
    ['driver: 550', '3:9 driver must be text or a mapping, not a number; write "550"'],
    ['driver: nvidia@', /^3:9 driver must be a driver and its version, such as nvidia@550, or auto, not/],
    ['driver: {use: nvidia, version: 550}', /^3:32 driver\.version must be text, not a number; write "550"$/],
    ['driver: {version: "550"}', '3:9 driver.use is missing'],
    [
      'driver: {use: nvidia, modules: opne}',
      '3:32 driver.modules must be open, proprietary or auto, not "opne"',
    ],
    ['cuda: 12.10', '3:7 cuda must be text or a mapping, not a number; write "12.10"'],
    ['cuda: twelve', /^3:7 cuda must be a version or the start of one, such as "12\.4", or auto, not/],
    ['cuda: {compat: yes}', '3:16 cuda.compat must be true or false, not text'],
    ['cuda: {versoin: "12"}', '3:8 unknown key "versoin" in cuda'],
    ['runtimes: [vllm@0.20, {use: vllm}]', '3:29 the runtime "vllm" is given twice'],
    ['runtimes: [{version: "1"}]', '3:12 runtimes[0].use is missing'],
    [
      'runtimes: [{use: vllm, digest: "sha256:12"}]',
      '3:32 runtimes[0].digest must be sha256: and 64 hex digits, not "sha256:12"',
    ],
    ['variants: [{name: a}, {name: a}]', '3:30 the variant "a" is given twice'],
    ['variants: [{}]', '3:12 variants[0].name is missing'],
    ['variants: [{name: a, name: b}]', '3:22 the key "name" is given twice'],
    ['extends: 3', /^3:10 extends must be text or a list/],
  ])('%s', async (text, wanted) => {
    const found = await complaints(HEAD + text);
    expect(found).toHaveLength(1);
    expect(found[0]).toEqual(typeof wanted === 'string' ? wanted : expect.stringMatching(wanted));
  });

  it('asks for a release where the base has no default', async () => {
    expect(await complaints('name: a\nbase: debian')).toEqual([
      '2:7 base must name a release, such as debian@13',
    ]);
  });

  it('tells near misses of groups as warnings', async () => {
    const { warnings } = await parseSpec(`${HEAD}users: [{name: ada, groups: [sudoo, dataplane]}]`, 'n.yaml');
    expect(warnings.map(show)).toEqual([
      `3:30 the group "sudoo" is neither declared nor one of the system's own`,
    ]);
    expect(warnings[0]?.suggestions?.[0]).toBe('sudo');
  });
});

describe('addresses that a health check asks', () => {
  it.each(['http://127.0.0.1:65535/', 'http://localhost:1', 'http://127.0.0.1:8000/health?ready=1'])(
    '%s',
    async (address) => {
      const { image } = await parseSpec(`${HEAD}health: [{name: answers, http: "${address}"}]`, 'node.yaml');
      expect(image.health.map(({ run }) => run)).toEqual([renderHttpCheck(address, undefined, 30)]);
    },
  );
});

describe('SSH keys', () => {
  const complaint = async (key: string): Promise<string[]> =>
    complaints(`${HEAD}users: [{name: ada, sshKeys: [${JSON.stringify(key)}]}]`);

  it('must be public keys', async () => {
    expect(await complaint('hello')).toEqual([
      expect.stringMatching(/^3:31 users\[0\]\.sshKeys\[0\] is not an SSH public key/),
    ]);
    expect(await complaint(SSH_KEY.slice(0, 40))).toEqual([
      expect.stringContaining('is cut short or damaged'),
    ]);
    expect(await complaint(SSH_KEY.replace('ssh-ed25519', 'ssh-rsa'))).toEqual([
      expect.stringContaining('is cut short or damaged'),
    ]);
  });

  it('are never shown, least of all private ones', async () => {
    const secret = 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE';
    const [text] = await complaint(`-----BEGIN OPENSSH PRIVATE KEY-----\n${secret}\n`);
    expect(text).toContain('is a private key');
    expect(text).not.toContain(secret);
  });
});

describe('updates that a node makes by itself', () => {
  const days = 'days and times, such as "Sat,Sun 02:00-04:00", "Mon..Fri 22:00-02:00" or "03:00-05:00"';
  it.each([
    ['{window: Sat}', `4:58 update.unattended.window must be ${days}`],
    ['{window: ["02:00-02:00"]}', `4:59 update.unattended.window[0] must be ${days}`],
    [
      '{window: "02:00-03:00", randomDelay: 1h}',
      '4:86 update.unattended.randomDelay must be shorter than every window: a node may come when it has closed',
    ],
    [
      '{window: "02:00-03:00", randomDelay: 1d}',
      '4:86 update.unattended.randomDelay must be a time such as 30m, 1h or 0, not "1d"',
    ],
    [
      '{window: "02:00-03:00", channel: a/b}',
      '4:82 update.unattended.channel must be a tag, such as stable, not "a/b"',
    ],
    [
      '{window: "02:00-03:00", apply: now}',
      '4:80 update.unattended.apply must be restart or stage, not "now"',
    ],
  ])('%s', async (text, wanted) => {
    const update = `agent: true\nupdate: {source: r.example.com/n:s, unattended: ${text}}`;
    expect(await complaints(HEAD + update)).toEqual([wanted]);
  });

  it('take Ingot on the node', async () => {
    const update = 'update: {source: r.example.com/n:s, unattended: {window: "02:00-03:00"}}';
    expect(await complaints(HEAD + update)).toEqual([
      '3:49 updates by itself take Ingot on the node: add `agent: true`',
    ]);
  });

  it('come with defaults', async () => {
    const update = 'update: {source: r.example.com/n:s, unattended: {window: "02:00-03:00"}}';
    const { image } = await parseSpec(`${HEAD}agent: true\n${update}`, 'node.yaml');
    expect(image.update?.unattended).toEqual({
      window: ['02:00-03:00'],
      randomDelaySeconds: 900,
      download: 'ahead',
      apply: 'restart',
    });
  });
});

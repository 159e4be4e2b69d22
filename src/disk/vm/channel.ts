/**
 * Running commands in a guest that knows nothing of us.
 *
 * systemd (256 and later) takes units from the virtual machine's firmware tables. Ours runs a shell loop on a
 * virtio-serial port: a line in, a line out, everything but numbers in base64, so that any output passes unharmed.
 *
 *   guest  ready BOOT-ID SOFT-REBOOTS
 *   host   run ID SECONDS SCRIPT
 *   guest  done ID EXIT-CODE STDOUT STDERR
 */
import type { Duplex } from 'node:stream';

import { IngotError } from '../../errors.ts';
import { splitLines } from '../../proc/run.ts';

/** The port's name: `/dev/virtio-ports/dev.ingot.test` in the guest. */
export const CHANNEL_PORT = 'dev.ingot.test';

const UNIT = 'ingot-test.service';
const SCRIPT_CREDENTIAL = 'ingot.test-channel';

/** What timeout(1) exits with when the time was up: by TERM, and by KILL for a command that ignores it. */
const TIMED_OUT: readonly number[] = [124, 137];

/** Serves the protocol on file descriptor 3. Everything it uses is in coreutils and any POSIX shell. */
export const GUEST_LOOP = `
printf 'ready %s %s\\n' "$(cat /proc/sys/kernel/random/boot_id)" \\
  "$(systemctl show --property=SoftRebootsCount --value 2>/dev/null)" >&3
while IFS=' ' read -r verb id seconds script <&3; do
  [ "$verb" = run ] || continue
  work=$(mktemp -d "\${TMPDIR:-/run}/ingot-test.XXXXXX") || exit 1
  printf %s "$script" | base64 -d >"$work/script"
  timeout --kill-after=5 "$seconds" sh "$work/script" >"$work/out" 2>"$work/err" </dev/null 3>&-
  code=$?
  printf 'done %s %s %s %s\\n' "$id" "$code" "$(base64 -w0 <"$work/out")" "$(base64 -w0 <"$work/err")" >&3
  rm -r "$work"
done
`.trimStart();

/** The credentials that make a guest answer on the port. See systemd-debug-generator(8). */
export function channelCredentials(): Record<string, string> {
  const device = `dev-virtio\\x2dports-${CHANNEL_PORT}.device`;
  return {
    [SCRIPT_CREDENTIAL]: `exec 3<>/dev/virtio-ports/${CHANNEL_PORT} || exit 1\n${GUEST_LOOP}`,
    [`systemd.extra-unit.${UNIT}`]: [
      '[Unit]',
      'Description=Commands from the virtual machine host',
      'ConditionPathExists=!/etc/initrd-release', // the initramfs reads the same credentials
      `BindsTo=${device}`,
      `After=${device}`,
      '[Service]',
      `ImportCredential=${SCRIPT_CREDENTIAL}`,
      'Environment=HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin',
      `ExecStart=/bin/sh %d/${SCRIPT_CREDENTIAL}`,
      'Restart=on-failure',
      '',
    ].join('\n'),
    'systemd.unit-dropin.basic.target~ingot-test': `[Unit]\nWants=${UNIT}\n`,
    // A slow emulated machine takes longer to find the port than the 90 s that devices are waited for.
    [`systemd.unit-dropin.${device}~ingot-test`]: '[Unit]\nJobRunningTimeoutSec=infinity\n',
  };
}

export type ChannelMessage =
  | { readonly type: 'ready'; readonly bootId: string }
  | { readonly type: 'done'; readonly id: number; readonly result: CommandOutput };

interface CommandOutput {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface GuestResult extends CommandOutput {
  /** It ran longer than it was allowed to, and was ended. */
  readonly timedOut: boolean;
}

export function renderRequest(id: number, script: string, timeoutSeconds: number): string {
  return `run ${id} ${timeoutSeconds} ${Buffer.from(script).toString('base64')}\n`;
}

/** Undefined for a line that is none of the guest's: a restarted loop may leave half of one. */
export function parseChannelMessage(line: string): ChannelMessage | undefined {
  const ready = /ready ([0-9a-f-]{36})(?: (\d*))?$/.exec(line);
  if (ready?.[1] !== undefined) {
    // The kernel's id outlives a restart of user space alone, which is a boot of its own to whoever waits for one.
    const soft = Number(ready[2] ?? 0);
    return { type: 'ready', bootId: soft === 0 ? ready[1] : `${ready[1]}+${soft}` };
  }
  const done = /^done (\d+) (\d+) ([\w+/=]*) ([\w+/=]*)$/.exec(line);
  if (done === null) return undefined;
  const exitCode = Number(done[2]);
  const text = (base64: string | undefined): string => Buffer.from(base64 ?? '', 'base64').toString();
  return {
    type: 'done',
    id: Number(done[1]),
    result: {
      exitCode,
      stdout: text(done[3]),
      stderr: text(done[4]),
    },
  };
}

export class GuestChannel {
  readonly #socket: Duplex;
  readonly #running = new Map<
    number,
    { readonly resolve: (output: CommandOutput) => void; readonly reject: (error: unknown) => void }
  >();
  readonly #waiting = new Set<(bootId: string) => boolean>();
  #lastId = 0;
  #bootId: string | undefined;

  /** @param bootId of a guest that said already that it answers */
  constructor(socket: Duplex, bootId?: string) {
    this.#socket = socket;
    this.#bootId = bootId;
    splitLines(socket, (line) => {
      const message = parseChannelMessage(line);
      if (message?.type === 'ready') this.#ready(message.bootId);
      else if (message !== undefined) this.#finish(message.id)?.resolve(message.result);
    });
  }

  /** Of the boot that answers now, if any does. */
  get bootId(): string | undefined {
    return this.#bootId;
  }

  /** Resolves once a boot other than `previous` answers. Never rejects: the caller bounds the wait. */
  async waitForBoot(previous?: string): Promise<string> {
    if (this.#bootId !== undefined && this.#bootId !== previous) return this.#bootId;
    return await new Promise((resolve) => {
      this.#waiting.add((bootId) => {
        if (bootId === previous) return false;
        resolve(bootId);
        return true;
      });
    });
  }

  /** Runs a shell script as root. @throws IngotError VM_FAILED when the guest restarts meanwhile. */
  async run(script: string, timeoutSeconds: number): Promise<GuestResult> {
    const id = ++this.#lastId;
    const started = performance.now();
    const output = await new Promise<CommandOutput>((resolve, reject) => {
      this.#running.set(id, { resolve, reject });
      this.#socket.write(renderRequest(id, script, timeoutSeconds));
    });
    // A command may exit with these numbers of its own accord.
    const late = performance.now() - started >= timeoutSeconds * 1000;
    return { ...output, timedOut: late && TIMED_OUT.includes(output.exitCode) };
  }

  /** Tells that the guest restarts: nobody answers until the next boot is up. */
  forgetBoot(): void {
    this.#bootId = undefined;
    for (const { reject } of this.#running.values()) {
      reject(new IngotError('VM_FAILED', 'the machine restarted while a command ran in it'));
    }
    this.#running.clear();
  }

  #ready(bootId: string): void {
    this.forgetBoot();
    this.#bootId = bootId;
    for (const waiting of this.#waiting) if (waiting(bootId)) this.#waiting.delete(waiting);
  }

  #finish(id: number): { readonly resolve: (output: CommandOutput) => void } | undefined {
    const running = this.#running.get(id);
    this.#running.delete(id);
    return running;
  }
}

/**
 * A virtual machine that boots a disk.
 *
 * The disk file is never written: the guest's writes go to an overlay that is thrown away. Every wait has a limit
 * and ends early when the machine does; the error then carries the console's last lines. KVM is used where it
 * executes the firmware, emulation otherwise.
 */
import { constants } from 'node:fs';
import { access, copyFile } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import { FIRST_CHANNEL_FD, startCompanion, type Companion } from '../../proc/companion.ts';
import { qemuMachineArgv, type Accelerator } from '../../tools/qemu.ts';
import { parseImageInfo, qemuImgCreateOverlayArgv, qemuImgInfoArgv } from '../../tools/qemu-img.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { DiskTools } from '../../ostree/disk-tools.ts';
import { CHANNEL_PORT, channelCredentials, GuestChannel, type GuestResult } from './channel.ts';
import { ConsoleLog } from './console-log.ts';
import { Qmp, type QmpEvent } from './qmp.ts';

export interface VmOptions {
  /** Raw or qcow2. */
  readonly disk: string;
  readonly toolsRoot: ToolsRoot;
  /** An empty folder of the caller's, removed after the machine. */
  readonly scratch: string;
  readonly memoryMiB?: number | undefined;
  /** Default: KVM where it works. */
  readonly accelerator?: Accelerator | undefined;
  /** Receives the console with the second of each line. */
  readonly consoleFile?: string | undefined;
  /** Told why KVM is not used although the machine has it. */
  readonly onNotice?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface WaitOptions {
  readonly timeoutMs: number;
}

const OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const OVMF_VARIABLES = 'usr/share/OVMF/OVMF_VARS_4M.fd';
const DEFAULT_MEMORY_MIB = 1024;
const TAIL_LINES = 40;
/** Firmware that KVM executes prints its first line within two seconds. */
const KVM_FIRMWARE_MS = 20_000;
/** What a command may take beyond its own limit: the way in and out of an emulated guest. */
const CHANNEL_GRACE_MS = 30_000;

export class Vm implements AsyncDisposable {
  readonly accelerator: Accelerator;
  readonly console: ConsoleLog;
  readonly #qemu: Companion;
  readonly #channel: GuestChannel;
  readonly #started: number;
  readonly #signal: AbortSignal | undefined;
  /** Settles with the reason when the machine has ended or cannot go on. */
  readonly #end = Promise.withResolvers<string>();
  #restarts = 0;
  #restarted: () => void = () => undefined;

  /**
   * Starts a machine; its firmware runs when this resolves.
   *
   * @throws IngotError VM_FAILED, TOOL_MISSING, DISK_FAILED for a disk that cannot be read, INTERRUPTED.
   */
  static async start(options: VmOptions): Promise<Vm> {
    const tools = new DiskTools(options.toolsRoot, options.signal);
    const info = await tools.run(qemuImgInfoArgv(options.disk), [{ path: options.disk, readOnly: true }]);
    const { format, size } = parseImageInfo(info.stdout);
    const overlay = join(options.scratch, 'overlay.qcow2');
    const variables = join(options.scratch, 'variables.fd');

    const attempt = async (accelerator: Accelerator): Promise<Vm> => {
      const base = { path: options.disk, format };
      await tools.run(qemuImgCreateOverlayArgv(overlay, size, base), [{ path: options.scratch }]);
      await copyFile(join(options.toolsRoot.path, OVMF_VARIABLES), variables);
      const program = qemuMachineArgv({
        accelerator,
        memoryMiB: options.memoryMiB ?? DEFAULT_MEMORY_MIB,
        firmware: { code: OVMF_CODE, variables },
        disk: base,
        overlay,
        port: CHANNEL_PORT,
        sockets: { qmp: FIRST_CHANNEL_FD, console: FIRST_CHANNEL_FD + 1, port: FIRST_CHANNEL_FD + 2 },
        credentials: channelCredentials(),
      });
      const argv = options.toolsRoot.argv(program, [
        { path: options.scratch },
        { path: options.disk, readOnly: true },
        ...(accelerator === 'kvm' ? [{ path: KVM_DEVICE, device: true }] : []),
      ]);
      const qemu = await startCompanion(argv, { channels: 3, label: 'qemu' });
      const vm = new Vm(qemu, accelerator, options);
      try {
        await vm.#run();
        return vm;
      } catch (error) {
        await vm[Symbol.asyncDispose]();
        throw error;
      }
    };

    if (options.accelerator !== undefined) return await attempt(options.accelerator);
    if (!(await canOpenKvm())) return await attempt('tcg');
    try {
      return await attempt('kvm');
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'VM_FAILED') throw error;
      options.onNotice?.(`KVM does not run a machine here: emulating (${error.message})`);
      return await attempt('tcg');
    }
  }

  private constructor(qemu: Companion, accelerator: Accelerator, options: VmOptions) {
    this.#qemu = qemu;
    this.accelerator = accelerator;
    this.#started = performance.now();
    this.#signal = options.signal;
    this.console = new ConsoleLog(() => this.seconds, options.consoleFile);
    void qemu.exited.then(({ exitCode, signal, output }) => {
      const how = exitCode === 0 ? 'the machine was switched off' : `QEMU ended (${exitCode ?? signal})`;
      this.#end.resolve(output === '' ? how : `${how}: ${output}`);
    });
    const [, consoleSocket, portSocket] = qemu.channels;
    if (consoleSocket === undefined || portSocket === undefined) throw new TypeError('three channels');
    this.console.follow(consoleSocket);
    this.#channel = new GuestChannel(portSocket);
  }

  /** Since the machine was started. */
  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** How often the guest has restarted. */
  get restarts(): number {
    return this.#restarts;
  }

  async #run(): Promise<void> {
    const [socket] = this.#qemu.channels;
    if (socket === undefined) throw new TypeError('three channels');
    const connected = Qmp.connect(socket, (event) => {
      this.#onEvent(event);
    });
    const qmp = await this.#wait(connected, 'QEMU to start', 30_000);
    await this.#wait(qmp.execute('cont'), 'QEMU to run', 30_000);
    if (this.accelerator === 'kvm') {
      await this.#wait(this.console.waitFor(/./), 'the firmware', KVM_FIRMWARE_MS);
    }
  }

  #onEvent(event: QmpEvent): void {
    switch (event.name) {
      case 'RESET':
        this.#restarts++;
        this.#restarted();
        return;
      case 'GUEST_PANICKED':
        this.#end.resolve('the guest panicked');
        return;
      case 'STOP':
        // Nobody but QEMU itself pauses the machine: KVM met an instruction that it cannot execute.
        this.#end.resolve('the accelerator failed (internal error)');
    }
  }

  /**
   * Waits until the guest runs commands.
   *
   * @throws IngotError VM_FAILED when it does not in time, ends, or restarts first: a restart before it was ever
   *   up means that it cannot boot.
   */
  async waitForChannel(options: WaitOptions): Promise<void> {
    const restarted = new Promise<never>((_resolve, reject) => {
      const fail = (): void => {
        reject(this.#failure('the machine restarted before it was up'));
      };
      this.#restarted = fail;
      if (this.#restarts > 0) fail();
    });
    try {
      const up = Promise.race([this.#channel.waitForBoot(), restarted]);
      await this.#wait(up, 'the machine to be up', options.timeoutMs);
    } finally {
      this.#restarted = () => undefined;
    }
  }

  /** Runs a shell script in the guest, as root. A command that takes too long is ended there: `timedOut`. */
  async exec(script: string, options: WaitOptions): Promise<GuestResult> {
    const seconds = Math.max(1, Math.ceil(options.timeoutMs / 1000));
    const limit = seconds * 1000 + CHANNEL_GRACE_MS;
    return await this.#wait(this.#channel.run(script, seconds), `an answer to: ${script}`, limit);
  }

  /** Restarts the guest in an orderly way and waits until the next boot runs commands. */
  async reboot(options: WaitOptions): Promise<void> {
    const previous = this.#channel.bootId;
    await this.exec('systemctl --no-block reboot', { timeoutMs: 30_000 });
    await this.#wait(this.#channel.waitForBoot(previous), 'the machine to be up again', options.timeoutMs);
  }

  /** Switches the guest off in an orderly way and waits until it is off. */
  async powerOff(options: WaitOptions): Promise<void> {
    await this.exec('systemctl --no-block poweroff', { timeoutMs: 30_000 });
    const off = this.#qemu.exited.then(({ exitCode, output }) => {
      if (exitCode !== 0) throw this.#failure(`QEMU ended (${exitCode ?? 'by a signal'}): ${output}`);
    });
    await this.#wait(off, 'the machine to switch itself off', options.timeoutMs, true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qemu[Symbol.asyncDispose]();
    await this.console.close();
  }

  #failure(message: string): IngotError {
    const output = this.console.tail(TAIL_LINES);
    const slower = this.accelerator === 'kvm' ? '; `--accelerator tcg` does without KVM' : '';
    return new IngotError('VM_FAILED', message, {
      hint: `\`--keep DIR\` leaves the whole console log, \`--timeout\` gives it longer${slower}`,
      ...(output !== '' && { output }),
    });
  }

  /** `work`, unless the machine ends, the signal fires, or the time is up first. */
  async #wait<T>(work: Promise<T>, what: string, timeoutMs: number, mayEnd = false): Promise<T> {
    // Not awaited when something else comes first.
    work.catch(() => undefined);
    const stop = new AbortController();
    const { promise: stopped, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => {
      reject(new IngotError('INTERRUPTED', `interrupted while waiting for ${what}`));
    };
    const timer = setTimeout(() => {
      reject(this.#failure(`waited ${Math.round(timeoutMs / 1000)} s for ${what}`));
    }, timeoutMs);
    this.#signal?.addEventListener('abort', onAbort, { once: true, signal: stop.signal });
    if (this.#signal?.aborted === true) onAbort();
    const ended = mayEnd
      ? stopped
      : this.#end.promise.then((reason): never => {
          throw this.#failure(`${reason} while waiting for ${what}`);
        });
    ended.catch(() => undefined);
    try {
      return await Promise.race([work, ended, stopped]);
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
  }
}

const KVM_DEVICE = '/dev/kvm';

async function canOpenKvm(): Promise<boolean> {
  return await access(KVM_DEVICE, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}

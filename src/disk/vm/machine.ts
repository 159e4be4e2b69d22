/**
 * A virtual machine that boots a disk.
 *
 * The disk file is never written: the guest's writes go to an overlay, which is thrown away or kept for the next
 * machine (machine-state.ts). Every wait has a limit and ends early when the machine does; the error then carries the
 * console's last lines. KVM is used where it executes the firmware, emulation otherwise.
 */
import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';

import { IngotError } from '../../errors.ts';
import { FIRST_CHANNEL_FD, startCompanion, type Companion } from '../../proc/companion.ts';
import { type Accelerator, qemuMachineArgv } from '../../tools/qemu.ts';
import { parseImageInfo, qemuImgInfoArgv } from '../../tools/qemu-img.ts';
import { DiskTools } from '../../ostree/disk-tools.ts';
import { CHANNEL_PORT, channelCredentials, GuestChannel, type GuestResult } from './channel.ts';
import { ConsoleLog } from './console-log.ts';
import {
  findFirmware,
  loadMemory,
  machineFiles,
  prepareMachineFiles,
  readSuspended,
  saveMemory,
  type SuspendedMachine,
} from './machine-state.ts';
import { Qmp, type QmpEvent } from './qmp.ts';
import type { VmOptions, WaitOptions } from './vm-options.ts';

const DEFAULT_MEMORY_MIB = 1024;
const TAIL_LINES = 40;
/** What reading a memory from the disk may take. */
const MEMORY_MS = 120_000;
/** Firmware that KVM executes prints its first line within two seconds. */
const KVM_FIRMWARE_MS = 20_000;
/** What the guest may take to begin to go down. */
const GO_DOWN_SECONDS = 30;
/** What a command may take beyond its own limit: the way in and out of an emulated guest. */
const CHANNEL_GRACE_MS = 30_000;

export class Vm implements AsyncDisposable {
  readonly accelerator: Accelerator;
  readonly console: ConsoleLog;
  readonly #qemu: Companion;
  readonly #channel: GuestChannel;
  readonly #started: number;
  readonly #options: VmOptions;
  readonly #memoryMiB: number;
  #qmp: Qmp | undefined;
  /** Settles with the reason when the machine has ended or cannot go on. */
  readonly #end = Promise.withResolvers<string>();
  #restarts = 0;
  #restarted: () => void = () => undefined;
  #suspending = false;

  /**
   * Starts a machine; its firmware runs when this resolves, or the guest where it was suspended. What else is
   * attached must be the same then.
   *
   * @throws IngotError VM_FAILED, TOOL_MISSING, DISK_FAILED for a disk that cannot be read, INTERRUPTED.
   */
  static async start(options: VmOptions): Promise<Vm> {
    const tools = new DiskTools(options.toolsRoot, options.signal);
    const info = await tools.run(qemuImgInfoArgv(options.disk), [{ path: options.disk, readOnly: true }]);
    const { format, size } = parseImageInfo(info.stdout);
    const { state = 'throw-away', scratch, writeLog, extraDisks = [], network = 'isolated' } = options;
    const disk = { path: options.disk, format, size };
    const firmware = findFirmware(options.secureBoot === true);
    const { overlay, variables } = machineFiles(scratch);
    const suspended = state === 'resume' ? await readSuspended(scratch) : undefined;
    const memoryMiB = suspended?.memoryMiB ?? options.memoryMiB ?? DEFAULT_MEMORY_MIB;

    const attempt = async (accelerator: Accelerator): Promise<Vm> => {
      await prepareMachineFiles(scratch, state, disk, firmware, tools);
      if (writeLog !== undefined) await writeFile(writeLog, '', { mode: 0o600 });
      const program = qemuMachineArgv({
        accelerator,
        memoryMiB,
        firmware: { code: firmware.code, variables },
        secureBoot: options.secureBoot === true,
        disk,
        overlay,
        throwAway: state === 'throw-away',
        writeLog,
        extraDisks,
        network,
        hasWatchdog: options.hasWatchdog ?? true,
        awaitsMemory: suspended !== undefined,
        port: CHANNEL_PORT,
        sockets: { qmp: FIRST_CHANNEL_FD, console: FIRST_CHANNEL_FD + 1, port: FIRST_CHANNEL_FD + 2 },
        credentials: channelCredentials(),
      });
      const binds = [
        { path: scratch },
        ...[options.disk, ...extraDisks.map(({ path }) => path)].map((path) => ({ path, readOnly: true })),
        ...(writeLog === undefined ? [] : [{ path: writeLog }]),
        ...(accelerator === 'kvm' ? [{ path: KVM_DEVICE, device: true }] : []),
      ];
      const argv = options.toolsRoot.argv(program, binds, { sharesNetwork: network === 'host' });
      const qemu = await startCompanion(argv, { channels: 3, label: 'qemu' });
      const vm = new Vm(qemu, { ...options, accelerator, memoryMiB }, suspended?.bootId);
      try {
        await vm.#run();
        return vm;
      } catch (error) {
        await vm[Symbol.asyncDispose]();
        throw error;
      }
    };

    const chosen = suspended?.accelerator ?? options.accelerator;
    if (chosen !== undefined) return await attempt(chosen);
    if (!(await canOpenKvm())) return await attempt('tcg');
    try {
      return await attempt('kvm');
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'VM_FAILED') throw error;
      options.onNotice?.(`KVM does not run a machine here: emulating (${error.message})`);
      return await attempt('tcg');
    }
  }

  private constructor(
    qemu: Companion,
    options: VmOptions & Pick<SuspendedMachine, 'accelerator' | 'memoryMiB'>,
    bootId: string | undefined,
  ) {
    this.#qemu = qemu;
    this.accelerator = options.accelerator;
    this.#memoryMiB = options.memoryMiB;
    this.#started = performance.now();
    this.#options = options;
    this.console = new ConsoleLog(() => this.seconds, options.consoleFile);
    void qemu.exited.then(({ exitCode, signal, output }) => {
      const how = exitCode === 0 ? 'the machine was switched off' : `QEMU ended (${exitCode ?? signal})`;
      this.#end.resolve(output === '' ? how : `${how}: ${output}`);
    });
    const [, consoleSocket, portSocket] = qemu.channels;
    if (consoleSocket === undefined || portSocket === undefined) throw new TypeError('three channels');
    this.console.follow(consoleSocket);
    // A guest that goes on has said before that it answers.
    this.#channel = new GuestChannel(portSocket, bootId);
  }

  /** Since the machine was started. */
  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** How often the guest has restarted. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Of the boot that answers now; undefined while none does. */
  get bootId(): string | undefined {
    return this.#channel.bootId;
  }

  async #run(): Promise<void> {
    const [socket] = this.#qemu.channels;
    if (socket === undefined) throw new TypeError('three channels');
    const connected = Qmp.connect(socket, (event) => {
      this.#onEvent(event);
    });
    const qmp = await this.#wait(connected, 'QEMU to start', 30_000);
    this.#qmp = qmp;
    const resumes = this.#options.state === 'resume';
    if (resumes) await this.#wait(loadMemory(qmp, this.#options.scratch), 'the memory', MEMORY_MS);
    await this.#wait(qmp.execute('cont'), 'QEMU to run', 30_000);
    if (this.accelerator === 'kvm' && !resumes) {
      await this.#wait(this.console.waitFor(/./), 'the firmware', KVM_FIRMWARE_MS);
    }
  }

  #onEvent(event: QmpEvent): void {
    switch (event.name) {
      case 'RESET':
        this.#restarts++;
        this.#channel.forgetBoot();
        this.#restarted();
        return;
      case 'GUEST_PANICKED':
        this.#end.resolve('the guest panicked');
        return;
      case 'STOP':
        // Else nobody but QEMU itself pauses the machine: KVM met an instruction that it cannot execute.
        if (!this.#suspending) this.#end.resolve('the accelerator failed (internal error)');
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

  /**
   * Waits until a boot other than `after` runs commands, through as many restarts as that takes, and gives its id.
   *
   * @throws IngotError VM_FAILED when none does in time or the machine ends.
   */
  async waitForBoot(options: WaitOptions & { readonly after?: string | undefined }): Promise<string> {
    return await this.#wait(this.#channel.waitForBoot(options.after), 'a boot that is up', options.timeoutMs);
  }

  /** Runs a shell script in the guest, as root. A command that takes too long is ended there: `timedOut`. */
  async exec(script: string, options: WaitOptions): Promise<GuestResult> {
    const seconds = Math.max(1, Math.ceil(options.timeoutMs / 1000));
    const limit = seconds * 1000 + CHANNEL_GRACE_MS;
    return await this.#wait(this.#channel.run(script, seconds), `an answer to: ${script}`, limit);
  }

  /**
   * Runs a shell script that takes the guest down, and does not wait for its answer: who brings it may be stopped first.
   * What becomes of the guest is what counts.
   */
  tell(script: string): void {
    this.#channel.run(script, GO_DOWN_SECONDS).catch(() => undefined);
  }

  /** Switches the guest off in an orderly way and waits until it is off. */
  async powerOff(options: WaitOptions): Promise<void> {
    this.tell('systemctl --no-block poweroff');
    const off = this.#qemu.exited.then(({ exitCode, output }) => {
      if (exitCode !== 0) throw this.#failure(`QEMU ended (${exitCode ?? 'by a signal'}): ${output}`);
    });
    await this.#wait(off, 'the machine to switch itself off', options.timeoutMs, true);
  }

  /** Ends the machine as a power failure does. With state `keep`, another may go on from what is on the disk then. */
  async cutPower(): Promise<void> {
    await this.#qemu.kill('SIGKILL');
  }

  /** Stops the guest where it is, and ends the machine. Its folder, or a copy of it, can be resumed any number of times. */
  async suspend(options: WaitOptions): Promise<void> {
    const { bootId } = this;
    if (this.#qmp === undefined || bootId === undefined) throw this.#failure('the machine is not up');
    this.#suspending = true;
    await this.#wait(this.#qmp.execute('stop'), 'the machine to stop', options.timeoutMs);
    const machine = { accelerator: this.accelerator, memoryMiB: this.#memoryMiB, bootId };
    const saved = saveMemory(this.#qmp, this.#options.scratch, machine);
    await this.#wait(saved, 'the memory to be saved', options.timeoutMs);
    await this.#qemu.kill();
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
    const { signal } = this.#options;
    signal?.addEventListener('abort', onAbort, { once: true, signal: stop.signal });
    if (signal?.aborted === true) onAbort();
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

/** What a virtual machine is made of, and how long it is waited for. */
import type { Accelerator, ExtraDisk, GuestNetwork } from '../../tools/qemu.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import type { MachineState } from './machine-state.ts';

export interface VmOptions {
  /** Raw or qcow2. */
  readonly disk: string;
  readonly toolsRoot: ToolsRoot;
  /** A folder of the caller's for what the machine writes; empty, unless `state` says that a machine was there. */
  readonly scratch: string;
  /** What becomes of it. Default: `throw-away`. */
  readonly state?: MachineState | undefined;
  readonly memoryMiB?: number | undefined;
  /** Only ever read. */
  readonly extraDisks?: readonly ExtraDisk[] | undefined;
  /** Default: `isolated`. */
  readonly network?: GuestNetwork | undefined;
  /** Default: true. */
  readonly hasWatchdog?: boolean | undefined;
  /** Firmware that boots only what is signed for it. */
  readonly secureBoot?: boolean | undefined;
  /** File for the log of every write and flush of the guest's; written anew. */
  readonly writeLog?: string | undefined;
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

/**
 * What says that NVIDIA's GPUs are good: outputs of `nvidia-smi`, the kernel's log and /proc, parsed and judged. Pure.
 * XIDs: "XID Errors", NVIDIA GPU Deployment and Management documentation. Fabric: nvidia-smi(1), "Fabric".
 */

export interface Verdict {
  readonly isGood: boolean;
  /** In a sentence, for a person. */
  readonly found: string;
}

/** `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build …` of /proc/driver/nvidia/version. */
export function parseModuleVersion(text: string): string | undefined {
  return /^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s/m.exec(text)?.[1];
}

/** Of the libraries, by the name of the one that all others need: `libnvidia-ml.so.550.163.01`. */
export function libraryVersion(names: readonly string[]): string | undefined {
  const versions = names.flatMap((name) => /^libnvidia-ml\.so\.(\d+\.\d+(?:\.\d+)?)$/.exec(name)?.[1] ?? []);
  return versions.length === 1 ? versions[0] : undefined;
}

/** A module and libraries of two versions refuse to work together. */
export function judgeDriver(module: string | undefined, library: string | undefined): Verdict {
  if (module === undefined) return { isGood: false, found: 'the module nvidia is not loaded' };
  if (library === undefined) return { isGood: true, found: `module ${module}; no libraries are installed` };
  return module === library
    ? { isGood: true, found: `module and libraries ${module}` }
    : { isGood: false, found: `the module is ${module}, the libraries are ${library}` };
}

export interface SmiGpu {
  /** As /sys has it: `0000:41:00.0`. */
  readonly address: string;
  readonly name: string;
  /** `Completed`, `In Progress`, `Not Started`, `Not Supported`; undefined: not told. */
  readonly fabricState: string | undefined;
  readonly fabricStatus: string | undefined;
}

/** What `parseSmiGpus` reads. */
export const SMI_FIELDS = ['pci.bus_id', 'name', 'fabric.state', 'fabric.status'] as const;

/** Output of `nvidia-smi --query-gpu=… --format=csv,noheader`. Lines of another form are passed over. */
export function parseSmiGpus(text: string): readonly SmiGpu[] {
  return text.split('\n').flatMap((line): SmiGpu[] => {
    const [bus = '', name = '', state, status] = line.split(',').map((cell) => cell.trim());
    // nvidia-smi writes eight digits of domain, /sys four.
    const address = /^(?:0000)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i
      .exec(bus)?.[1]
      ?.toLowerCase();
    if (address === undefined) return [];
    return [{ address, name, fabricState: told(state), fabricStatus: told(status) }];
  });
}

/** Every GPU on the bus must answer: one that has fallen off it is there no more, or says nothing. */
export function judgeAnswers(onBus: readonly string[], answered: readonly SmiGpu[]): Verdict {
  const silent = onBus.filter((address) => !answered.some((gpu) => gpu.address === address));
  if (silent.length > 0) return { isGood: false, found: `nvidia-smi says nothing of ${silent.join(', ')}` };
  const names = [...new Set(answered.map(({ name }) => name))].join(', ');
  return { isGood: true, found: `${answered.length} × ${names}` };
}

/** Only where there is a fabric; the state is reached a while after the driver is loaded. */
export function judgeFabric(gpus: readonly SmiGpu[]): Verdict {
  const joined = gpus.filter(
    ({ fabricState }) => fabricState !== undefined && fabricState !== 'Not Supported',
  );
  if (joined.length === 0) return { isGood: true, found: 'no fabric' };
  const bad = joined.filter(
    ({ fabricState, fabricStatus }) =>
      fabricState !== 'Completed' || (fabricStatus !== undefined && fabricStatus !== 'Success'),
  );
  const [first] = bad;
  if (first === undefined) return { isGood: true, found: `complete on ${joined.length}` };
  const state = [first.fabricState, first.fabricStatus].filter((text) => text !== undefined).join(', ');
  return { isGood: false, found: `${first.address} is not in the fabric: ${state}` };
}

export interface Xid {
  readonly address: string;
  readonly code: number;
  readonly text: string;
}

/** `NVRM: Xid (PCI:0000:41:00): 79, pid=…, GPU has fallen off the bus.` */
export function parseXids(log: string): readonly Xid[] {
  return [...log.matchAll(/NVRM: Xid \(PCI:([0-9a-f:.]+)\): (\d+)(?:, (.*))?$/gim)].map(
    ([, address = '', code = '', text = '']) => ({
      address: address.toLowerCase(),
      code: Number(code),
      text,
    }),
  );
}

/** Those that an application brings upon itself: they say nothing of the GPU. */
const OF_APPLICATIONS: ReadonlySet<number> = new Set([13, 31, 43, 45, 69]);
/** Of the fifth NVLink, 144 to 150, and the driver says of each whether it is fatal: `RLW_REMAP Nonfatal XC0 i0 Link 03`. */
const OF_NVLINK = { first: 144, last: 150, mild: /^(?!.*\bFatal\b).*\bNonfatal\b/ } as const;
/** What the driver thinks must be done, when that changes: `… changed from 0x1 (GPU Reset Required) to 0x0 (None)`. */
const OF_RECOVERY = { code: 154, mild: /\bto 0x0 \(None\)/ } as const;

/** The driver itself says that the GPU goes on. */
function isMild({ code, text }: Xid): boolean {
  if (code === OF_RECOVERY.code) return OF_RECOVERY.mild.test(text);
  return code >= OF_NVLINK.first && code <= OF_NVLINK.last && OF_NVLINK.mild.test(text);
}

export function judgeXids(xids: readonly Xid[]): Verdict {
  const ofPrograms = xids.filter(({ code }) => OF_APPLICATIONS.has(code));
  const mild = xids.filter(isMild);
  const serious = xids.filter((xid) => !OF_APPLICATIONS.has(xid.code) && !isMild(xid));
  const [first] = serious;
  if (first === undefined) {
    const kinds = [
      ...(ofPrograms.length === 0 ? [] : [`of programs: ${listCodes(ofPrograms)}`]),
      ...(mild.length === 0 ? [] : [`not fatal: ${listCodes(mild)}`]),
    ];
    const found =
      kinds.length === 0 ? 'no error in the log' : `no error of a GPU in the log; ${kinds.join('; ')}`;
    return { isGood: true, found };
  }
  const { address, code, text } = first;
  const more = serious.length > 1 ? `, and ${serious.length - 1} more` : '';
  return { isGood: false, found: `XID ${code} of ${address}${text === '' ? '' : `: ${text}`}${more}` };
}

function listCodes(xids: readonly Xid[]): string {
  const codes = [...new Set(xids.map(({ code }) => code))].sort((one, other) => one - other);
  return `XID ${codes.join(', ')}`;
}

function told(cell: string | undefined): string | undefined {
  return cell === undefined || cell === '' || /^\[?N\/A\]?$|^\[/i.test(cell) ? undefined : cell;
}

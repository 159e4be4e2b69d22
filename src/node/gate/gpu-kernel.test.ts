/** The program in the real Python, with a driver that is played: there is no GPU here. Debian: python3. */
import { describe, expect, test } from 'vitest';

import { run } from '../../proc/run.ts';
import { gpuKernelArgv, KERNEL_EXIT } from './gpu-kernel.ts';

/** What `libcuda.so.1` would do: keeps numbers by address, and adds them as the kernel says. */
function played(gpus: number, faults: Readonly<Record<string, number>> = {}, wrong = 0): string {
  return `
import ctypes
memory, faults = {}, ${JSON.stringify(faults)}
class Driver:
    def __init__(self, name):
        assert name == "libcuda.so.1"
    def __getattr__(self, name):
        return lambda *given: faults[name] if name in faults else Driver.does.get(name, lambda *_: 0)(*given)
    def count(out):
        out._obj.value = ${gpus}
        return 0
    def allocate(out, size):
        out._obj.value = 4096 * (len(memory) + 1)
        memory[out._obj.value] = (ctypes.c_uint32 * (size.value // 4))()
        return 0
    def to_device(place, numbers, size):
        memory[place.value][:] = numbers[:]
        return 0
    def from_device(numbers, place, size):
        numbers[:] = memory[place.value][:]
        return 0
    def launch(function, blocks, y, z, threads, ty, tz, shared, stream, parameters, extra):
        read = lambda at, kind: ctypes.cast(parameters[at], ctypes.POINTER(kind))[0]
        first, second, result = (memory[read(at, ctypes.c_uint64)] for at in range(3))
        for i in range(min(read(3, ctypes.c_uint32), blocks * threads)):
            result[i] = (3 * first[i] + second[i] + ${wrong} * (i == 77)) & 0xFFFFFFFF
        return 0
    does = {"cuDeviceGetCount": count, "cuMemAlloc_v2": allocate, "cuMemcpyHtoD_v2": to_device,
            "cuMemcpyDtoH_v2": from_device, "cuLaunchKernel": launch}
ctypes.CDLL = Driver
`;
}

async function outcome(prelude = ''): Promise<readonly [number, string]> {
  const argv = gpuKernelArgv('/usr/bin/python3', prelude);
  const { exitCode, stdout, stderr } = await run(argv, { okExitCodes: [0, 1, 3, 4] });
  expect(stderr).toBe('');
  return [exitCode, stdout];
}

test('a kernel that ran on every GPU is good', async () => {
  expect(await outcome(played(2))).toEqual([KERNEL_EXIT.good, '2 of 2 GPUs added 100003 numbers']);
});

test('one wrong sum is found', async () => {
  expect(await outcome(played(1, {}, 5))).toEqual([KERNEL_EXIT.failed, 'GPU 0: sum 77 is 775']);
});

describe('what the driver says is told', () => {
  test.each([
    [played(1, { cuInit: 100 }), KERNEL_EXIT.noGpu, 'CUDA sees no GPU'],
    [played(0), KERNEL_EXIT.noGpu, 'CUDA sees no GPU'],
    [played(1, { cuInit: 803 }), KERNEL_EXIT.failed, 'cuInit says error 803'],
    [played(1, { cuModuleLoadData: 218 }), KERNEL_EXIT.failed, 'GPU 0: cuModuleLoadData says error 218'],
    [played(1, { cuCtxSynchronize: 719 }), KERNEL_EXIT.failed, 'GPU 0: cuCtxSynchronize says error 719'],
  ])('%#', async (prelude, code, text) => {
    expect(await outcome(prelude)).toEqual([code, text]);
  });

  test('a GPU that is in use is none that fails', async () => {
    expect(await outcome(played(1, { cuMemAlloc_v2: 2 }))).toEqual([
      KERNEL_EXIT.good,
      '0 of 1 GPUs added 100003 numbers; GPU 0 is in use, and has no room (cuMemAlloc_v2: error 2)',
    ]);
  });
});

test('a machine without the library says so', async () => {
  const [code, text] = await outcome(
    'import ctypes\ndef CDLL(name): raise OSError(name)\nctypes.CDLL = CDLL\n',
  );
  expect([code, text]).toEqual([KERNEL_EXIT.noLibrary, 'libcuda.so.1 cannot be loaded: libcuda.so.1']);
});

/**
 * A small program that a GPU must run to be good: it adds numbers, and the sums are looked at. A driver that is loaded
 * and answers may still be one on which no kernel runs. The program speaks to `libcuda.so.1` alone, through Python's
 * ctypes. The agent's layer brings Python where the image has CUDA; an image without Python does not have the check.
 */
import type { Argv } from '../../proc/run.ts';

/**
 * `c[i] = 3 * a[i] + b[i]`, for every GPU since Maxwell: the driver translates it for the one that is there.
 * Parallel Thread Execution ISA 6.0; `ptxas` takes it.
 */
export const KERNEL_PTX = `.version 6.0
.target sm_50
.address_size 64

.visible .entry combine(
  .param .u64 first, .param .u64 second, .param .u64 result, .param .u32 count
)
{
  .reg .pred %p<2>;
  .reg .b32 %r<9>;
  .reg .b64 %rd<9>;

  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  ld.param.u32 %r5, [count];
  setp.ge.u32 %p1, %r4, %r5;
  @%p1 bra DONE;

  ld.param.u64 %rd1, [first];
  ld.param.u64 %rd2, [second];
  ld.param.u64 %rd3, [result];
  cvta.to.global.u64 %rd1, %rd1;
  cvta.to.global.u64 %rd2, %rd2;
  cvta.to.global.u64 %rd3, %rd3;
  mul.wide.u32 %rd4, %r4, 4;
  add.s64 %rd5, %rd1, %rd4;
  add.s64 %rd6, %rd2, %rd4;
  add.s64 %rd7, %rd3, %rd4;
  ld.global.u32 %r6, [%rd5];
  ld.global.u32 %r7, [%rd6];
  mad.lo.u32 %r8, %r6, 3, %r7;
  st.global.u32 [%rd7], %r8;
DONE:
  ret;
}
`;

export const KERNEL_EXIT = { good: 0, failed: 1, noLibrary: 3, noGpu: 4 } as const;

/** CUDA Driver API; results: 2 out of memory, 46 device unavailable, 100 no device. */
const PROGRAM = `
import ctypes, sys

def end(code, text):
    print(text)
    sys.exit(code)

try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError as error:
    end(${KERNEL_EXIT.noLibrary}, "libcuda.so.1 cannot be loaded: %s" % error)

def name_of(result):
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(result, ctypes.byref(text))
    return text.value.decode() if text.value else "error %d" % result

class Busy(Exception):
    pass

def call(function, *arguments):
    result = getattr(cuda, function)(*arguments)
    if result in (2, 46):
        raise Busy("%s: %s" % (function, name_of(result)))
    if result != 0:
        end(${KERNEL_EXIT.failed}, "GPU %d: %s says %s" % (index, function, name_of(result)))

index = 0
result = cuda.cuInit(0)
if result == 100:
    end(${KERNEL_EXIT.noGpu}, "CUDA sees no GPU")
if result != 0:
    end(${KERNEL_EXIT.failed}, "cuInit says %s" % name_of(result))
found = ctypes.c_int()
call("cuDeviceGetCount", ctypes.byref(found))
if found.value == 0:
    end(${KERNEL_EXIT.noGpu}, "CUDA sees no GPU")

COUNT = 100003
BLOCK = 256
Numbers = ctypes.c_uint32 * COUNT
first = Numbers(*range(COUNT))
second = Numbers(*(7 * i & 0xFFFFFFFF for i in range(COUNT)))
size = ctypes.c_size_t(ctypes.sizeof(Numbers))

def run(index):
    device, context = ctypes.c_int(), ctypes.c_void_p()
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuModuleLoadData", ctypes.byref(module), KERNEL)
    call("cuModuleGetFunction", ctypes.byref(function), module, b"combine")
    places = [ctypes.c_uint64() for _ in range(3)]
    for place in places:
        call("cuMemAlloc_v2", ctypes.byref(place), size)
    for place, numbers in zip(places, (first, second)):
        call("cuMemcpyHtoD_v2", place, numbers, size)
    count = ctypes.c_uint32(COUNT)
    values = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in (*places, count)]
    parameters = (ctypes.c_void_p * 4)(*(value.value for value in values))
    blocks = (COUNT + BLOCK - 1) // BLOCK
    call("cuLaunchKernel", function, blocks, 1, 1, BLOCK, 1, 1, 0, None, parameters, None)
    call("cuCtxSynchronize")
    sums = Numbers()
    call("cuMemcpyDtoH_v2", sums, places[2], size)
    for i in range(COUNT):
        if sums[i] != (3 * first[i] + second[i]) & 0xFFFFFFFF:
            end(${KERNEL_EXIT.failed}, "GPU %d: sum %d is %d" % (index, i, sums[i]))
    for place in places:
        call("cuMemFree_v2", place)
    call("cuModuleUnload", module)
    call("cuDevicePrimaryCtxRelease_v2", device)

busy = []
for index in range(found.value):
    try:
        run(index)
    except Busy as error:
        busy.append("GPU %d is in use, and has no room (%s)" % (index, error))
end(0, "; ".join(["%d of %d GPUs added %d numbers" % (found.value - len(busy), found.value, COUNT), *busy]))
`;

/** Isolated: nothing of the environment or of a user's own packages has a part in it. */
export function gpuKernelArgv(python: string, prelude = ''): Argv {
  return [python, '-I', '-c', `${prelude}KERNEL = ${JSON.stringify(KERNEL_PTX)}.encode()\n${PROGRAM}`];
}

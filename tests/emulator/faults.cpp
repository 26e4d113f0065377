// Kernels with planted faults, and small ones that show a property of the emulator: for tests/cuda_driver.rs alone.
#include "../../kernels/common.cuh"

namespace {

// As `Plain` in tests/cuda_driver.rs.
struct Plain {
    float *values;
    uint32_t length;
    uint32_t unused;
};

}  // namespace

// Every thread adds one to its value.
KERNEL(plain_increment, Plain p, 64) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.length) p.values[i] += 1.0f;
}

// values[0] = the number of threads, summed through warps and block.
KERNEL(plain_sum, Plain p, 256) {
    __shared__ float partial[8];
    float sum = block_sum<8>(1.0f, partial);
    if (threadIdx.x == 0) p.values[0] = sum;
}

// What a block finds in shared memory that it has not written.
KERNEL(plain_shared, Plain p, 32) {
    __shared__ float fixed[32];
    DYNAMIC_SHARED(float, dynamic);
    p.values[2 * blockIdx.x] = fixed[threadIdx.x];
    p.values[2 * blockIdx.x + 1] = dynamic[threadIdx.x];
    __syncthreads();
    fixed[threadIdx.x] = dynamic[threadIdx.x] = 1.0f;
}

// Half of the block waits at a barrier, the other half for them in a warp.
KERNEL(fault_deadlock, Plain, 64) {
    if (threadIdx.x < 48) __syncthreads();
    else __shfl_sync(ALL_LANES, 1.0f, 0);
}

KERNEL(fault_two_barriers, Plain, 64) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

// A lane takes part with a mask that does not name it.
KERNEL(fault_mask, Plain p, 32) { p.values[0] = __shfl_sync(0x0000ffffu, 1.0f, 0); }

// Reads the neighbour's value without waiting for it.
KERNEL(fault_missing_barrier, Plain p, 64) {
    __shared__ float value[64];
    value[threadIdx.x] = float(threadIdx.x);
    p.values[threadIdx.x] = value[(threadIdx.x + 32) % 64];
}

// Writes one element beyond the end.
KERNEL(fault_overrun, Plain p, 32) { p.values[p.length] = 1.0f; }

// Writes to no memory at all.
KERNEL(fault_wild, Plain, 32) { *reinterpret_cast<volatile float *>(uintptr_t(8)) = 1.0f; }

// What all kernels share: how a kernel is declared, warp and block reductions, wide loads, random numbers, and every
// operation that is not plain CUDA C++. The same sources are compiled for the GPU (nvcc) and, in the tests, for the CPU
// (tests/emulator), where emulator.h gives CUDA's built-ins their meaning.
#pragma once
#include <stdint.h>

#include "params.h"

#ifdef __CUDACC__
// A kernel: its name, its one parameter, the threads of its blocks.
#define KERNEL(name, parameter, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ parameter)
// The same, with registers for so many blocks at once on a multiprocessor.
#define KERNEL_RESIDENT(name, parameter, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ parameter)
// The block's dynamic shared memory as an array of T.
#define DYNAMIC_SHARED(T, name)                                         \
    extern __shared__ __align__(128) unsigned char dynamic_shared_[];   \
    T *name = reinterpret_cast<T *>(dynamic_shared_)
// For rare paths, whose registers shall not count in the common one.
#define NOINLINE static __device__ __noinline__
// Before a loop over registers.
#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")
#define NO_UNROLL _Pragma("unroll 1")
#else
#include "emulator.h"
#define KERNEL(name, parameter, threads)                                             \
    static void name(const parameter);                                               \
    static ::emulator::Registration<name> registration_##name(#name, threads);       \
    static void name(const parameter)
#define KERNEL_RESIDENT(name, parameter, threads, blocks) KERNEL(name, parameter, threads)
#define DYNAMIC_SHARED(T, name) T *name = reinterpret_cast<T *>(::emulator::block.dynamic_shared)
#define NOINLINE static __attribute__((noinline))
#define UNROLL
#define UNROLL_4
#define NO_UNROLL
#endif

#define DEVICE __device__ __forceinline__

constexpr unsigned WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- threads

DEVICE unsigned lane_id() { return threadIdx.x % WARP; }
DEVICE unsigned warp_id() { return threadIdx.x / WARP; }
// The lanes before this one.
DEVICE unsigned lanes_before() { return (1u << lane_id()) - 1; }

// ---- reductions, in a fixed order: the result depends on the values alone

// Sum over the lanes of a warp, in every lane.
template <class T> DEVICE T warp_sum(T value) {
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// Sum over the threads of a block of WARPS full warps, in every thread. `partial` is shared, [WARPS], and may be used
// again after the next barrier.
template <unsigned WARPS, class T> DEVICE T block_sum(T value, T *partial) {
    value = warp_sum(value);
    if (lane_id() == 0) partial[warp_id()] = value;
    __syncthreads();
    return warp_sum(lane_id() < WARPS ? partial[lane_id()] : T(0));
}

// Sum over the lanes before this one.
DEVICE unsigned warp_exclusive_sum(unsigned value) {
    unsigned sum = value;
    for (unsigned distance = 1; distance < WARP; distance *= 2) {
        unsigned before = __shfl_up_sync(ALL_LANES, sum, distance);
        if (lane_id() >= distance) sum += before;
    }
    return sum - value;
}

// ---- 128-bit loads and stores; addresses are multiples of 16

DEVICE float4 load4(const float *p) { return *reinterpret_cast<const float4 *>(p); }
DEVICE void store4(float *p, float4 v) { *reinterpret_cast<float4 *>(p) = v; }

// ---- numbers of 16 bits, two to a word, the first in its lower half

#ifdef __CUDACC__
DEVICE float2 widen_f16x2(uint32_t word) {
    float2 v;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
        : "=f"(v.x), "=f"(v.y)
        : "r"(word));
    return v;
}
// The nearest; too large becomes infinite.
DEVICE uint32_t nearest_f16x2(float first, float second) {
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}
DEVICE uint32_t nearest_bf16x2(float first, float second) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}
#endif

// ---- copies from global to shared memory that run beside the arithmetic

#ifdef __CUDACC__
// Begins copying 16 bytes, past the first-level cache; both addresses are multiples of 16.
DEVICE void async_copy16(void *shared, const void *global) {
    unsigned to = unsigned(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
// The same for 4, 8 or 16 bytes, of which all addresses are multiples; if not `copied`, as many zeros.
template <unsigned BYTES> DEVICE void async_copy_or_zero(void *shared, const void *global, bool copied) {
    const unsigned to = unsigned(__cvta_generic_to_shared(shared)), from = copied ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(BYTES), "r"(from)
                     : "memory");
    }
}
// Ends a group: the thread's copies since the last group.
DEVICE void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of the thread's groups but the last N. Other threads see the bytes after a barrier.
template <int N> DEVICE void async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#endif

// ---- matrix multiplication by the tensor cores, on fragments that a warp holds together
//
// Lane l holds of a 16 x 16 matrix A, in words of two bf16, (row l / 4, columns 2 (l % 4) + 0, 1), then row + 8, then
// columns + 8, then both; of a 16 x 8 matrix B (rows 2 (l % 4) + 0, 1, column l / 4), then rows + 8; of the 16 x 8 result
// (row l / 4, columns 2 (l % 4) + 0, 1), then row + 8.

//
// Of TF32, in words of one number, lane l holds of a 16 x 8 matrix A (row l / 4, column l % 4), then row + 8, then
// column + 4, then both; of an 8 x 8 matrix B (row l % 4, column l / 4), then row + 4; of the result the same as above.

constexpr float BF16_LARGEST = 3.3895313892515355e38f;

// To the nearest bf16, ties to even, for what is no larger than the largest.
DEVICE uint32_t to_bf16(float x) {
    const uint32_t bits = __float_as_uint(x);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// To the nearest number with the 11 significant bits of TF32, of two as near the larger in magnitude; NaN becomes any.
// cvt.rna.tf32 does the same in twice the instructions.
DEVICE float nearest_tf32(float x) { return __uint_as_float((__float_as_uint(x) + 0x1000) & 0xffffe000u); }

#ifdef __CUDACC__
// Four 8 x 8 matrices of bf16 from shared memory: lane l gives the address of row l % 8 of matrix l / 8, a multiple of 16,
// and gets of each matrix (row l / 4, columns 2 (l % 4) + 0, 1).
DEVICE void load_matrices(uint32_t (&to)[4], const void *row) {
    const unsigned from = unsigned(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from)
                 : "memory");
}
// c += a b. Products are exact; sums are f32, with roundings that are not said.
DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// c += a b as above, of TF32: of an f32 the last 13 bits are not read.
DEVICE void multiply_add(float (&c)[4], const float (&a)[4], float b0, float b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
                   "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}
#endif

// ---- the logistic function; neither overflows, and both keep their relative precision where they are small

// 1 / (1 + e^-x)
DEVICE float sigmoid(float x) {
    float e = expf(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}
// log(1 + e^x) = -log sigmoid(-x)
DEVICE float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// base^exponent by repeated squaring, as src/optim.rs has it.
DEVICE double power(double base, uint64_t exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1) result *= base;
        base *= base;
    }
    return result;
}

// ---- random numbers: the functions of src/sampling, bit for bit

// Philox4x32-10: four uniform words from a 128-bit counter and a 64-bit key.
DEVICE uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; round++) {
        uint64_t a = uint64_t(0xD2511F53u) * counter.x, b = uint64_t(0xCD9E8D57u) * counter.z;
        counter = make_uint4(uint32_t(b >> 32) ^ counter.y ^ key.x, uint32_t(b),
                             uint32_t(a >> 32) ^ counter.w ^ key.y, uint32_t(a));
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

DEVICE uint2 halves(uint64_t word) { return make_uint2(uint32_t(word), uint32_t(word >> 32)); }

// A word scaled to 0..n.
DEVICE uint32_t below(uint32_t word, uint32_t n) { return uint32_t((uint64_t(word) * n) >> 32); }

// A well-mixed function of a word.
DEVICE uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    return x ^ x >> 16;
}

// A permutation of 0..n chosen by (seed, stream): a Feistel network with cycle walking.
struct Permutation {
    uint32_t n, low_bits, low_mask, high_mask, keys[6];

    DEVICE Permutation(uint32_t n, uint64_t seed, uint64_t stream) : n(n) {
        constexpr uint32_t TAG = 0x5045524D;
        uint2 key = halves(seed), s = halves(stream);
        uint4 a = philox(make_uint4(s.x, s.y, 0, TAG), key), b = philox(make_uint4(s.x, s.y, 1, TAG), key);
        keys[0] = a.x, keys[1] = a.y, keys[2] = a.z, keys[3] = a.w, keys[4] = b.x, keys[5] = b.y;
        uint32_t bits = n > 1 ? 32 - __clz(int(n - 1)) : 0;
        low_bits = bits / 2;
        low_mask = (1u << low_bits) - 1;
        high_mask = (1u << (bits - low_bits)) - 1;
    }

    DEVICE uint32_t encrypt(uint32_t x) const {
        uint32_t low = x & low_mask, high = x >> low_bits;
        for (int round = 0; round < 6; round += 2) {
            high ^= mix(low ^ keys[round]) & high_mask;
            low ^= mix(high ^ keys[round + 1]) & low_mask;
        }
        return high << low_bits | low;
    }

    DEVICE uint32_t operator()(uint32_t index) const {
        uint32_t x = encrypt(index);
        while (x >= n) x = encrypt(x);
        return x;
    }
};

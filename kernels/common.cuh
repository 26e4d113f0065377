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
// The same, where the registers of so many blocks at once are to be used before others are given up.
#define KERNEL_OF_BLOCKS(name, parameter, threads, blocks) \
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
#define KERNEL_OF_BLOCKS(name, parameter, threads, blocks) KERNEL(name, parameter, threads)
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

// ---- copies from global to shared memory that run beside the arithmetic

#ifdef __CUDACC__
// Begins copying 16 bytes, past the first-level cache; both addresses are multiples of 16.
DEVICE void async_copy16(void *shared, const void *global) {
    unsigned to = unsigned(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
// Ends a group: the thread's copies since the last group.
DEVICE void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of the thread's groups but the last N. Other threads see the bytes after a barrier.
template <int N> DEVICE void async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
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

    static DEVICE uint32_t mix(uint32_t x) {
        x = (x ^ x >> 16) * 0x85EBCA6Bu;
        x = (x ^ x >> 13) * 0xC2B2AE35u;
        return x ^ x >> 16;
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

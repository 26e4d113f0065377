// What CUDA's built-ins mean on the CPU. kernels/common.cuh includes it in place of the CUDA headers when a kernel is
// compiled with the host's C++ compiler.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <deque>
#include <type_traits>
#include <vector>

#include "runtime.h"

// ---- qualifiers

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// One block runs at a time, so one per block is one per process. The section lets the runtime fill it before each block;
// it works in plain functions, which the bodies of kernels are. AddressSanitizer guards no variable with a section.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ __attribute__((section("emulator_shared"))) static
#endif

#define threadIdx (::emulator::current->thread)
#define blockIdx (::emulator::block.index)
#define blockDim (::emulator::block.size)
#define gridDim (::emulator::block.grid)

// ---- vector types

#define EMULATOR_VECTOR(T, N, ALIGN)                                              \
    struct alignas(2 * ALIGN) N##2 {                                              \
        T x, y;                                                                   \
    };                                                                            \
    struct alignas(4 * ALIGN) N##4 {                                              \
        T x, y, z, w;                                                             \
    };                                                                            \
    static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                   \
    static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTOR(float, float, 4)
EMULATOR_VECTOR(int, int, 4)
EMULATOR_VECTOR(unsigned, uint, 4)
#undef EMULATOR_VECTOR
struct alignas(16) double2 {
    double x, y;
};
struct alignas(16) ulonglong2 {
    unsigned long long x, y;
};

// ---- block level

#define __syncthreads() ((void)::emulator::block_barrier(0, __LINE__))
#define __syncthreads_count(p) (::emulator::block_barrier(!!(p), __LINE__).count)
#define __syncthreads_or(p) (::emulator::block_barrier(!!(p), __LINE__).any)
#define __syncthreads_and(p) (::emulator::block_barrier(!!(p), __LINE__).all)

// ---- warp level: every operation is a collective over one record per lane

namespace emulator {

template <class F> void for_lanes(unsigned lanes, F f) {
    for (unsigned l = 0; l < 32; l++) {
        if (lanes >> l & 1) f(l);
    }
}

template <class T> T shuffle(unsigned mask, T value, int source) {
    static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "operand of a shuffle");
    struct Record {
        T in, out;
        int source;
    } record{value, value, source};
    warp_collective(
        mask, &record,
        [](void *const *records, unsigned lanes) {
            for_lanes(lanes, [&](unsigned l) {
                auto *mine = static_cast<Record *>(records[l]);
                if (!(lanes >> mine->source & 1)) {
                    fail("shuffle: lane %u reads lane %d, which is not in the mask %08x", l, mine->source, lanes);
                }
                mine->out = static_cast<Record *>(records[mine->source])->in;
            });
        },
        "a shuffle");
    return record.out;
}

// Every lane gets fold(values of all lanes, in lane order).
template <class Fold, class T> T warp_fold(unsigned mask, T value) {
    struct Record {
        T in, out;
    } record{value, value};
    warp_collective(
        mask, &record,
        [](void *const *records, unsigned lanes) {
            unsigned first = __builtin_ctz(lanes);
            T result = static_cast<Record *>(records[first])->in;
            for_lanes(lanes & ~(1u << first),
                      [&](unsigned l) { result = Fold{}(result, static_cast<Record *>(records[l])->in); });
            for_lanes(lanes, [&](unsigned l) { static_cast<Record *>(records[l])->out = result; });
        },
        "a warp reduction");
    return record.out;
}

// The first lane of this lane's segment of `width` lanes.
inline int segment(int width) { return int(current->lane) & ~(width - 1); }

struct Add { template <class T> T operator()(T a, T b) const { return a + b; } };
struct Min { template <class T> T operator()(T a, T b) const { return b < a ? b : a; } };
struct Max { template <class T> T operator()(T a, T b) const { return a < b ? b : a; } };
struct And { template <class T> T operator()(T a, T b) const { return a & b; } };
struct Or { template <class T> T operator()(T a, T b) const { return a | b; } };
struct Xor { template <class T> T operator()(T a, T b) const { return a ^ b; } };

}  // namespace emulator

template <class T> T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
    return emulator::shuffle(mask, v, emulator::segment(width) + (source & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32) {
    int me = emulator::current->lane, source = me ^ lanes;
    return emulator::shuffle(mask, v, source < emulator::segment(width) + width ? source : me);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
    int me = emulator::current->lane, source = me + int(delta);
    return emulator::shuffle(mask, v, source < emulator::segment(width) + width ? source : me);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
    int me = emulator::current->lane, source = me - int(delta);
    return emulator::shuffle(mask, v, source >= emulator::segment(width) ? source : me);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return emulator::warp_fold<emulator::Or>(mask, unsigned(predicate != 0) << emulator::current->lane);
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
inline unsigned __activemask() { emulator::fail("__activemask means nothing here: pass masks explicitly"); }
inline void __syncwarp(unsigned mask = ~0u) {
    emulator::warp_collective(mask, nullptr, [](void *const *, unsigned) {}, "__syncwarp");
}
template <class T> unsigned __match_any_sync(unsigned mask, T value) {
    struct Record {
        T in;
        unsigned out;
    } record{value, 0};
    emulator::warp_collective(
        mask, &record,
        [](void *const *records, unsigned lanes) {
            emulator::for_lanes(lanes, [&](unsigned a) {
                emulator::for_lanes(lanes, [&](unsigned b) {
                    auto *mine = static_cast<Record *>(records[a]), *other = static_cast<Record *>(records[b]);
                    if (mine->in == other->in) mine->out |= 1u << b;
                });
            });
        },
        "__match_any_sync");
    return record.out;
}

#define EMULATOR_REDUCE(T, name, Fold) \
    inline T __reduce_##name##_sync(unsigned mask, T v) { return emulator::warp_fold<emulator::Fold>(mask, v); }
EMULATOR_REDUCE(unsigned, and, And)
EMULATOR_REDUCE(unsigned, or, Or)
EMULATOR_REDUCE(unsigned, xor, Xor)
EMULATOR_REDUCE(unsigned, add, Add)
EMULATOR_REDUCE(unsigned, min, Min)
EMULATOR_REDUCE(unsigned, max, Max)
EMULATOR_REDUCE(int, add, Add)
EMULATOR_REDUCE(int, min, Min)
EMULATOR_REDUCE(int, max, Max)
#undef EMULATOR_REDUCE

// ---- atomics: nothing runs between the read and the write

#define EMULATOR_ATOMIC(name, expression)                       \
    template <class T> T name(T *p, std::common_type_t<T> b) {  \
        T a = *p;                                               \
        *p = (expression);                                      \
        return a;                                               \
    }
EMULATOR_ATOMIC(atomicAdd, a + b)
EMULATOR_ATOMIC(atomicSub, a - b)
EMULATOR_ATOMIC(atomicExch, b)
EMULATOR_ATOMIC(atomicAnd, a &b)
EMULATOR_ATOMIC(atomicOr, a | b)
EMULATOR_ATOMIC(atomicXor, a ^ b)
EMULATOR_ATOMIC(atomicMin, b < a ? b : a)
EMULATOR_ATOMIC(atomicMax, a < b ? b : a)
#undef EMULATOR_ATOMIC
template <class T> T atomicCAS(T *p, std::common_type_t<T> expected, std::common_type_t<T> value) {
    T old = *p;
    if (old == expected) *p = value;
    return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- loads and stores with cache hints

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> void __stcs(T *p, T v) { *p = v; }
template <class T> void __stcg(T *p, T v) { *p = v; }

// ---- asynchronous copies: the bytes arrive when they are waited for, and are NaN until then

namespace emulator {

struct Copy {
    void *to;
    const void *from;  // null: zeros
    unsigned bytes;

    void arrive() const {
        if (from) memcpy(to, from, bytes);
        else memset(to, 0, bytes);
    }
};
// The groups of one thread of the block that runs; the last one is not ended yet.
struct Groups {
    unsigned serial = ~0u;
    std::deque<std::vector<Copy>> groups;

    static Groups &mine() {
        static Groups threads[1024];
        Groups &g = threads[current->thread.x];
        if (g.serial != block.serial) g.serial = block.serial, g.groups.assign(1, {});
        return g;
    }
};

}  // namespace emulator

template <unsigned BYTES> void async_copy_or_zero(void *shared, const void *global, bool copied) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "bytes of an asynchronous copy");
    if ((uintptr_t(shared) | uintptr_t(global)) % BYTES) {
        emulator::fail("an asynchronous copy: an address is no multiple of %u", BYTES);
    }
    memset(shared, 0xff, BYTES);
    emulator::Groups::mine().groups.back().push_back({shared, copied ? global : nullptr, BYTES});
}
inline void async_copy16(void *shared, const void *global) { async_copy_or_zero<16>(shared, global, true); }
inline void async_commit() { emulator::Groups::mine().groups.emplace_back(); }
template <int N> void async_wait() {
    auto &groups = emulator::Groups::mine().groups;
    while (groups.size() > N + 1) {
        for (const emulator::Copy &copy : groups.front()) copy.arrive();
        groups.pop_front();
    }
}

// ---- tensor cores

inline void load_matrices(uint32_t (&to)[4], const void *row) {
    if (uintptr_t(row) % 16) emulator::fail("load_matrices: an address is no multiple of 16");
    struct Record {
        const unsigned char *row;
        uint32_t *to;
    } record{static_cast<const unsigned char *>(row), to};
    emulator::warp_collective(
        ~0u, &record,
        [](void *const *records, unsigned lanes) {
            if (lanes != ~0u) emulator::fail("load_matrices: a lane is missing");
            for (unsigned l = 0; l < 32; l++) {
                for (unsigned m = 0; m < 4; m++) {
                    const auto *from = static_cast<Record *>(records[8 * m + l / 4])->row;
                    memcpy(static_cast<Record *>(records[l])->to + m, from + 4 * (l % 4), 4);
                }
            }
        },
        "load_matrices");
}

namespace emulator {

inline float tf32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits &= 0xffffe000u;
    memcpy(&x, &bits, 4);
    return x;
}

// What the lanes of a warp pass to the tensor cores.
template <class T> struct Factors {
    const T *a;
    T b[2];
    float *c;
};

// c += a b of 16 x K and K x 8 numbers, which Place takes from lane l's; products are exact, and so nearly are their sums.
template <unsigned K, class T, class Place> void multiply_add(float (&c)[4], const T (&a)[4], T b0, T b1, Place) {
    Factors<T> record{a, {b0, b1}, c};
    warp_collective(
        ~0u, &record,
        [](void *const *records, unsigned lanes) {
            if (lanes != ~0u) fail("multiply_add: a lane is missing");
            double a[16][K], b[K][8];
            for (unsigned l = 0; l < 32; l++) Place::place(l, *static_cast<Factors<T> *>(records[l]), a, b);
            for (unsigned l = 0; l < 32; l++) {
                for (unsigned j = 0; j < 4; j++) {
                    float &c = static_cast<Factors<T> *>(records[l])->c[j];
                    double sum = c;
                    for (unsigned k = 0; k < K; k++) sum += a[l / 4 + j / 2 * 8][k] * b[k][2 * (l % 4) + j % 2];
                    // Towards zero, as the hardware may.
                    float rounded = float(sum);
                    if (fabs(double(rounded)) > fabs(sum)) rounded = nextafterf(rounded, 0.0f);
                    c = rounded;
                }
            }
        },
        "multiply_add");
}

struct PlaceBf16 {
    static double number(uint32_t word, unsigned half) {
        const uint32_t bits = half ? word & 0xffff0000u : word << 16;
        float x;
        memcpy(&x, &bits, 4);
        return double(x);
    }

    static void place(unsigned l, const Factors<uint32_t> &r, double (&a)[16][16], double (&b)[16][8]) {
        for (unsigned j = 0; j < 8; j++) {
            const unsigned k = 2 * (l % 4) + j % 2;
            a[l / 4 + j / 2 % 2 * 8][k + j / 4 * 8] = number(r.a[j / 2], j % 2);
            if (j < 4) b[k + j / 2 * 8][l / 4] = number(r.b[j / 2], j % 2);
        }
    }
};

struct PlaceTf32 {
    static void place(unsigned l, const Factors<float> &r, double (&a)[16][8], double (&b)[8][8]) {
        for (unsigned j = 0; j < 4; j++) {
            a[l / 4 + j % 2 * 8][l % 4 + j / 2 * 4] = tf32(r.a[j]);
            if (j < 2) b[l % 4 + j * 4][l / 4] = tf32(r.b[j]);
        }
    }
};

}  // namespace emulator

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulator::multiply_add<16>(c, a, b0, b1, emulator::PlaceBf16());
}
inline void multiply_add(float (&c)[4], const float (&a)[4], float b0, float b1) {
    emulator::multiply_add<8>(c, a, b0, b1, emulator::PlaceTf32());
}

// ---- bits and mathematics

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __brev(unsigned v) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i);
    return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
template <class To, class From> To emulator_bits(From v) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &v, sizeof to);
    return to;
}
inline float __int_as_float(int v) { return emulator_bits<float>(v); }
inline int __float_as_int(float v) { return emulator_bits<int>(v); }
inline unsigned __float_as_uint(float v) { return emulator_bits<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return emulator_bits<float>(v); }
inline double __longlong_as_double(long long v) { return emulator_bits<double>(v); }
inline long long __double_as_longlong(double v) { return emulator_bits<long long>(v); }
// Numbers of 16 bits: IEEE's f16 and the upper half of an f32, rounded to the nearest, of two as near to the even one.
inline float emulator_widen_f16(unsigned bits) {
    const int exponent = bits >> 10 & 31;
    const unsigned fraction = bits & 1023;
    const float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                            : exponent ? ldexpf(float(fraction | 1024), exponent - 25)
                                       : ldexpf(float(fraction), -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}
inline unsigned emulator_nearest_f16(float x) {
    const unsigned sign = std::signbit(x) ? 0x8000 : 0;
    const float magnitude = fabsf(x);
    if (isnan(x)) return 0x7fff;
    if (magnitude >= 65520.0f) return sign | 0x7c00;
    const int exponent = magnitude < 0x1p-14f ? -14 : ilogbf(magnitude);
    // In units of the last place, from 1024 on with the leading bit; one more is a carry into the exponent.
    const unsigned units = unsigned(nearbyintf(ldexpf(magnitude, 10 - exponent)));
    return sign | ((unsigned(exponent + 14) << 10) + units);
}
inline unsigned emulator_nearest_bf16(float x) {
    const unsigned bits = emulator_bits<unsigned>(x);
    return isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline float2 widen_f16x2(uint32_t word) {
    return make_float2(emulator_widen_f16(word & 0xffff), emulator_widen_f16(word >> 16));
}
inline uint32_t nearest_f16x2(float first, float second) {
    return emulator_nearest_f16(first) | emulator_nearest_f16(second) << 16;
}
inline uint32_t nearest_bf16x2(float first, float second) {
    return emulator_nearest_bf16(first) | emulator_nearest_bf16(second) << 16;
}
// The compiler is told not to contract (-ffp-contract=off), so these are what they say.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
// A macro, since newer C libraries have the function.
#define cospi(x) cos(M_PI * (x))
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
using std::max;
using std::min;

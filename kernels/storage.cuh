// The form in which tables are kept, f32, F16 or Bf16, and how numbers are rounded to it: src/storage.rs, bit for bit.
// Arithmetic is f32.
#pragma once
#include "common.cuh"

struct F16 {
    uint16_t bits;
};
struct Bf16 {
    uint16_t bits;
};

// ---- four columns: 64-bit loads and stores, rounded to the nearest; addresses are multiples of 8

// Four numbers as they are stored: registers of rows that are on their way.
template <class T> struct Four {
    uint2 words;
};
template <> struct Four<float> {
    float4 numbers;
};

template <class T> DEVICE Four<T> fetch4(const T *p) { return {*reinterpret_cast<const uint2 *>(p)}; }
template <> DEVICE Four<float> fetch4(const float *p) { return {load4(p)}; }

DEVICE float4 widen(Four<float> four) { return four.numbers; }
DEVICE float4 widen(Four<F16> four) {
    const float2 low = widen_f16x2(four.words.x), high = widen_f16x2(four.words.y);
    return make_float4(low.x, low.y, high.x, high.y);
}
DEVICE float4 widen(Four<Bf16> four) {
    return make_float4(__uint_as_float(four.words.x << 16), __uint_as_float(four.words.x & 0xffff0000u),
                       __uint_as_float(four.words.y << 16), __uint_as_float(four.words.y & 0xffff0000u));
}

DEVICE float4 load4(const F16 *p) { return widen(fetch4(p)); }
DEVICE float4 load4(const Bf16 *p) { return widen(fetch4(p)); }
DEVICE void store4(F16 *p, float4 v) {
    *reinterpret_cast<uint2 *>(p) = make_uint2(nearest_f16x2(v.x, v.y), nearest_f16x2(v.z, v.w));
}
DEVICE void store4(Bf16 *p, float4 v) {
    *reinterpret_cast<uint2 *>(p) = make_uint2(nearest_bf16x2(v.x, v.y), nearest_bf16x2(v.z, v.w));
}

// ---- parameters that an optimiser has moved

// Random bits for what step `step` (from 1) makes of a row: counters, hashed. Columns have words of their own.
struct Noise {
    uint32_t row;

    DEVICE Noise(const Rows &table, uint64_t step, uint32_t row)
        : row(mix(mix(row ^ table.noise[1]) ^ mix(uint32_t(step) ^ table.noise[0]) ^ uint32_t(step >> 32))) {}

    DEVICE uint32_t word(uint32_t column) const { return mix(row + column * 0x9E3779B9u); }
};

// One of the two neighbours of x in the form of T: the upper with a probability of the distance to the lower, in units of
// their distance. `word` is uniform.
template <class T> DEVICE float stochastic(float x, uint32_t word);

template <> DEVICE float stochastic<float>(float x, uint32_t) { return x; }

template <> DEVICE float stochastic<F16>(float x, uint32_t word) {
    const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu, noise = word >> 19;
    // Below 2^-14 are the multiples of 2^-24: in units of 2^-37, which are the last bits of a number from 2^23 on.
    const float units = fmaf(__uint_as_float(magnitude), 137438953472.0f, 8388608.0f);
    const uint32_t multiple = (__float_as_uint(units) - 0x4B000000u + noise) >> 13;
    const uint32_t below = __float_as_uint(float(multiple) * 5.9604644775390625e-8f);
    const uint32_t rounded = magnitude < 0x38800000u ? below : (magnitude + noise) & ~0x1fffu;
    return magnitude < 0x7f800000u ? __uint_as_float((bits & 0x80000000u) | rounded) : x;
}

template <> DEVICE float stochastic<Bf16>(float x, uint32_t word) {
    const uint32_t bits = __float_as_uint(x);
    const bool finite = (bits & 0x7fffffffu) < 0x7f800000u;
    return finite ? __uint_as_float((bits + (word >> 16)) & 0xffff0000u) : x;
}

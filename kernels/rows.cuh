// A row of a table in the registers of a group of lanes.
#pragma once
#include "storage.cuh"

// Up to WIDTH columns, a power of two from 16 to 1024: G lanes of a warp hold V times four consecutive columns each.
// Columns from the stride on are zero.
template <unsigned WIDTH> struct Row {
    static constexpr unsigned G = WIDTH < 4 * WARP ? WIDTH / 4 : WARP, V = WIDTH / (4 * G), GROUPS = WARP / G, N = 4 * V;

    float x[N];

    // The first of this lane's columns 4v..4v + 4.
    static DEVICE unsigned column(unsigned v) { return 4 * (v * G + lane_id() % G); }
    static DEVICE unsigned lane() { return lane_id() % G; }
    // The lanes of this group.
    static DEVICE unsigned mask() { return ALL_LANES >> (WARP - G) << (lane_id() / G * G); }

    static DEVICE Row zero() {
        Row row;
        UNROLL
        for (unsigned j = 0; j < N; j++) row.x[j] = 0.0f;
        return row;
    }

    // Whole, or zero where `wanted` is false.
    template <class T> static DEVICE Row load(const T *from, uint32_t stride, bool wanted = true) {
        Row row;
        UNROLL
        for (unsigned v = 0; v < V; v++) {
            const bool inside = wanted && column(v) < stride;
            const float4 four = inside ? load4(from + column(v)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            row.x[4 * v] = four.x, row.x[4 * v + 1] = four.y, row.x[4 * v + 2] = four.z, row.x[4 * v + 3] = four.w;
        }
        return row;
    }

    // As `load`, past the first-level cache: for what other blocks of the same launch have written.
    static DEVICE Row load_shared(const float *from, uint32_t stride) {
        Row row;
        UNROLL
        for (unsigned v = 0; v < V; v++) {
            const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            const float4 *at = reinterpret_cast<const float4 *>(from + column(v));
            const float4 four = column(v) < stride ? __ldcg(at) : zero;
            row.x[4 * v] = four.x, row.x[4 * v + 1] = four.y, row.x[4 * v + 2] = four.z, row.x[4 * v + 3] = four.w;
        }
        return row;
    }

    // Rounded to the nearest.
    template <class T> DEVICE void store(T *to, uint32_t stride) const {
        UNROLL
        for (unsigned v = 0; v < V; v++) {
            const float4 four = make_float4(x[4 * v], x[4 * v + 1], x[4 * v + 2], x[4 * v + 3]);
            if (column(v) < stride) store4(to + column(v), four);
        }
    }

    // Rounds each element at random to the form of T.
    template <class T> DEVICE void round(const Noise &noise) {
        UNROLL
        for (unsigned j = 0; j < N; j++) x[j] = stochastic<T>(x[j], noise.word(column(j / 4) + j % 4));
    }

    // this += a y
    DEVICE void add(float a, const Row &y) {
        UNROLL
        for (unsigned j = 0; j < N; j++) x[j] = fmaf(a, y.x[j], x[j]);
    }
};

// A row as it is stored, on its way: half the registers where numbers have 16 bits.
template <class T, unsigned WIDTH> struct Fetched {
    using R = Row<WIDTH>;

    Four<T> four[R::V];

    // Whole, or zero where `wanted` is false.
    static DEVICE Fetched load(const T *from, uint32_t stride, bool wanted) {
        Fetched row;
        UNROLL
        for (unsigned v = 0; v < R::V; v++) {
            const bool inside = wanted && R::column(v) < stride;
            row.four[v] = inside ? fetch4(from + R::column(v)) : Four<T>{};
        }
        return row;
    }

    // sum += this
    DEVICE void add_to(R &sum) const {
        UNROLL
        for (unsigned v = 0; v < R::V; v++) {
            const float4 x = widen(four[v]);
            sum.x[4 * v] += x.x, sum.x[4 * v + 1] += x.y, sum.x[4 * v + 2] += x.z, sum.x[4 * v + 3] += x.w;
        }
    }
};

// Sum over the lanes of a group, in every lane. All groups of the warp take part.
template <unsigned G, class T> DEVICE T group_sum(T value) {
    UNROLL
    for (unsigned distance = G / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// Dot product, in every lane of the group. All groups of the warp take part.
template <unsigned WIDTH> DEVICE float dot(const Row<WIDTH> &a, const Row<WIDTH> &b) {
    float sum = 0.0f;
    UNROLL
    for (unsigned j = 0; j < Row<WIDTH>::N; j++) sum = fmaf(a.x[j], b.x[j], sum);
    return group_sum<Row<WIDTH>::G>(sum);
}

// Defines a kernel for every width: f(WIDTH).
#define EVERY_WIDTH(f) f(16) f(32) f(64) f(128) f(256) f(512) f(1024)
// The same for one form of tables: f(NAME, FORM, WIDTH), where NAME begins the variant's; and for every form.
#define EVERY_WIDTH_OF(f, NAME, T) \
    f(NAME, T, 16) f(NAME, T, 32) f(NAME, T, 64) f(NAME, T, 128) f(NAME, T, 256) f(NAME, T, 512) f(NAME, T, 1024)
#define EVERY_TABLE(f) EVERY_WIDTH_OF(f, , float) EVERY_WIDTH_OF(f, f16_, F16) EVERY_WIDTH_OF(f, bf16_, Bf16)

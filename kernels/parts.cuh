// Rows of two vectors side by side, each of `part` columns, a multiple of four: four columns of a lane are of one vector.
#pragma once
#include "rows.cuh"

// `stride` columns, or zero where `wanted` is false, from a row of `length` columns that is repeated if it is shorter.
template <unsigned WIDTH>
DEVICE Row<WIDTH> load_repeated(const float *from, uint32_t stride, uint32_t length, bool wanted = true) {
    using R = Row<WIDTH>;
    R row;
    UNROLL
    for (unsigned v = 0; v < R::V; v++) {
        const uint32_t c = R::column(v);
        const bool inside = wanted && c < stride;
        const float4 four = inside ? load4(from + (c < length ? c : c - length)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        row.x[4 * v] = four.x, row.x[4 * v + 1] = four.y, row.x[4 * v + 2] = four.z, row.x[4 * v + 3] = four.w;
    }
    return row;
}

// Row `from` with its two vectors exchanged, or zero where `wanted` is false.
template <unsigned WIDTH> DEVICE Row<WIDTH> load_exchanged(const float *from, uint32_t part, bool wanted = true) {
    using R = Row<WIDTH>;
    R row;
    UNROLL
    for (unsigned v = 0; v < R::V; v++) {
        const uint32_t c = R::column(v);
        const bool inside = wanted && c < 2 * part;
        const float4 four = inside ? load4(from + (c < part ? c + part : c - part)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        row.x[4 * v] = four.x, row.x[4 * v + 1] = four.y, row.x[4 * v + 2] = four.z, row.x[4 * v + 3] = four.w;
    }
    return row;
}

// row += a y, with a = `first` for the first vector and `second` for the other.
template <unsigned WIDTH>
DEVICE void add_parts(Row<WIDTH> &row, float first, float second, uint32_t part, const Row<WIDTH> &y) {
    UNROLL
    for (unsigned j = 0; j < Row<WIDTH>::N; j++) {
        row.x[j] = fmaf(Row<WIDTH>::column(j / 4) < part ? first : second, y.x[j], row.x[j]);
    }
}

// Dot products of the first and of the second vectors, in every lane of the group. All groups of the warp take part.
template <unsigned WIDTH> DEVICE float2 dot_parts(const Row<WIDTH> &a, const Row<WIDTH> &b, uint32_t part) {
    float first = 0.0f, second = 0.0f;
    UNROLL
    for (unsigned v = 0; v < Row<WIDTH>::V; v++) {
        float sum = 0.0f;
        UNROLL
        for (unsigned j = 4 * v; j < 4 * v + 4; j++) sum = fmaf(a.x[j], b.x[j], sum);
        if (Row<WIDTH>::column(v) < part) first += sum;
        else second += sum;
    }
    return make_float2(group_sum<Row<WIDTH>::G>(first), group_sum<Row<WIDTH>::G>(second));
}

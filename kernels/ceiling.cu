// ceiling: the least that other kernels are measured against. How fast memory is copied, and how fast rows of 256 bytes
// are fetched by number.
//
//   copy:    to[i] = from[i]
//   gather:  sums[g] = sum over k < CEILING_ROWS of table[ids[CEILING_ROWS g + k]]
//
// copy: a thread moves four times 128 bits, all loaded before the first is stored; 8 bytes an element, in and out.
// gather: 16 lanes a group, 128 bits each, eight rows in flight; 260 bytes a row in, 256 / CEILING_ROWS out.
//
// Deterministic: every sum is one thread's, in the order of the numbers.
#include "common.cuh"

namespace ceiling {

constexpr unsigned AT_ONCE = 4, LANES = CEILING_COLUMNS / 4, IN_FLIGHT = 8;

DEVICE void copy(const CeilingCopy &p) {
    const uint64_t first = uint64_t(blockIdx.x) * CEILING_THREADS * AT_ONCE + threadIdx.x;
    float4 values[AT_ONCE];
    UNROLL
    for (unsigned k = 0; k < AT_ONCE; k++) {
        const uint64_t at = first + k * CEILING_THREADS;
        values[k] = at < p.length / 4 ? load4(p.from + 4 * at) : float4{};
    }
    UNROLL
    for (unsigned k = 0; k < AT_ONCE; k++) {
        const uint64_t at = first + k * CEILING_THREADS;
        if (at < p.length / 4) store4(p.to + 4 * at, values[k]);
    }
}

DEVICE void gather(const CeilingGather &p) {
    const uint64_t group = uint64_t(blockIdx.x) * (CEILING_THREADS / LANES) + threadIdx.x / LANES;
    const unsigned column = threadIdx.x % LANES * 4;
    if (group >= p.groups) return;
    float4 sum{};
    NO_UNROLL
    for (unsigned k = 0; k < CEILING_ROWS; k += IN_FLIGHT) {
        float4 rows[IN_FLIGHT];
        UNROLL
        for (unsigned j = 0; j < IN_FLIGHT; j++) {
            const uint32_t id = p.ids[group * CEILING_ROWS + k + j];
            rows[j] = load4(p.table + uint64_t(id) * CEILING_COLUMNS + column);
        }
        UNROLL
        for (unsigned j = 0; j < IN_FLIGHT; j++) {
            sum.x += rows[j].x;
            sum.y += rows[j].y;
            sum.z += rows[j].z;
            sum.w += rows[j].w;
        }
    }
    store4(p.sums + group * CEILING_COLUMNS + column, sum);
}

}  // namespace ceiling

KERNEL(ceiling_copy, CeilingCopy p, CEILING_THREADS) { ceiling::copy(p); }
KERNEL(ceiling_gather, CeilingGather p, CEILING_THREADS) { ceiling::gather(p); }

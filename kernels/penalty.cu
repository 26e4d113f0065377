// penalty: what an objective adds to the loss for the rows of a batch, and what apply is to pull each of them towards.
//
//   halves         c sum over rows |first - second|^2           c = strength / (rows components), on both sides
//   decay          c sum over item samples constant |x|^2       c = strength / rows of the batch
//   across         strength mean |x - y|^2, x over the item samples whose constant is 0 and y over those with 1,
//                  = strength (mean |x|^2 + mean |y|^2 - 2 mean x . mean y); nothing without either kind
//   within         strength of each kind times (mean |x|^2 - |mean x|^2)
//   pull[kind]     coefficient of a row (halves) or of a sample, 2 c, or 2 strength / samples of the kind
//   points[kind]   across: the mean of the other kind, within: of its own
//
// A group of lanes takes every so many-th row of its side, which lies in the second-level cache since gather; it sums
// squares in f64 and rows in f32. A block adds its groups' sums and writes them; the block that arrives last, by a count
// in device memory, adds those of all blocks in their order, in f64, and adds the value to the loss. Moves 4 W bytes a
// touched row from the cache, halves 8 W; across and within 16 W a block besides.
//
// Deterministic: which rows a group takes, and the order of every sum, are fixed. No floating-point atomics; nobody waits
// for another block.
#include "parts.cuh"

namespace penalty {

constexpr unsigned WARPS = PENALTY_THREADS / WARP;

struct Shared {
    double partial[WARPS];
    uint32_t counts[WARPS];
    bool last;
};

// Of the two kinds of rows.
struct Sums {
    double squares[2];
    uint32_t count[2];
};

DEVICE bool has_points(const Penalty &p) { return p.form == PENALTY_ACROSS || p.form == PENALTY_WITHIN; }

// The sums of all threads, in every thread.
DEVICE Sums block_sums(Sums sums, Shared &shared) {
    UNROLL
    for (unsigned k = 0; k < 2; k++) {
        sums.squares[k] = block_sum<WARPS>(sums.squares[k], shared.partial);
        sums.count[k] = block_sum<WARPS>(sums.count[k], shared.counts);
        __syncthreads();
    }
    return sums;
}

// This block's part of its side's sums. `rows` is [WARPS, stride].
template <unsigned WIDTH> DEVICE void sum_rows(const Penalty &p, const PenaltySide &side, uint32_t block, Shared &shared,
                                               float *rows) {
    using R = Row<WIDTH>;
    const uint32_t count = *side.count, step = side.blocks * WARPS * R::GROUPS;
    Sums sums = {};
    R of_kind[2] = {R::zero(), R::zero()};
    for (uint32_t base = (block * WARPS + warp_id()) * R::GROUPS; base < count; base += step) {
        const uint32_t slot = base + lane_id() / R::G;
        const bool inside = slot < count;
        const float *at = side.rows + uint64_t(slot) * side.stride;
        R row = R::load(at, side.stride, inside);
        const float samples = inside ? float(side.starts[slot + 1] - side.starts[slot]) : 0.0f;
        const float constant = inside && side.constants != nullptr ? side.constants[side.touched[slot]] : 0.0f;
        if (p.form == PENALTY_HALVES) row.add(-1.0f, load_exchanged<WIDTH>(at, p.part, inside));
        const double squares = double(dot(row, row));
        const bool kind = has_points(p) && constant > 0.5f;
        if (has_points(p)) {
            UNROLL
            for (unsigned k = 0; k < 2; k++) of_kind[k].add(kind == (k == 1) ? samples : 0.0f, row);
        }
        if (R::lane() == 0) {
            // Every difference of two vectors is there twice.
            const double weight = p.form == PENALTY_HALVES ? 0.5
                                  : p.form == PENALTY_DECAY ? double(constant) * double(samples) : double(samples);
            UNROLL
            for (unsigned k = 0; k < 2; k++) {
                const bool mine = kind == (k == 1);
                sums.squares[k] += mine ? weight * squares : 0.0;
                sums.count[k] += mine ? uint32_t(samples) : 0;
            }
        }
    }
    sums = block_sums(sums, shared);
    if (threadIdx.x < 2) {
        side.partial[2 * block + threadIdx.x] = threadIdx.x == 0 ? sums.squares[0] : sums.squares[1];
        side.count_partial[2 * block + threadIdx.x] = threadIdx.x == 0 ? sums.count[0] : sums.count[1];
    }
    if (!has_points(p)) return;
    UNROLL
    for (unsigned k = 0; k < 2; k++) {
        UNROLL
        for (unsigned distance = R::G; distance < WARP; distance *= 2) {
            UNROLL
            for (unsigned j = 0; j < R::N; j++) {
                of_kind[k].x[j] += __shfl_xor_sync(ALL_LANES, of_kind[k].x[j], distance);
            }
        }
        if (lane_id() < R::G) of_kind[k].store(rows + warp_id() * side.stride, side.stride);
        __syncthreads();
        for (uint32_t c = threadIdx.x; c < side.stride; c += PENALTY_THREADS) {
            double sum = 0.0;
            UNROLL
            for (unsigned w = 0; w < WARPS; w++) sum += double(rows[w * side.stride + c]);
            side.row_partial[(2 * uint64_t(block) + k) * side.stride + c] = sum;
        }
        __syncthreads();
    }
}

// The value on one side, and what its rows are pulled to, from the sums of all blocks.
DEVICE double value(const Penalty &p, const PenaltySide &side, Shared &shared) {
    Sums sums = {};
    for (uint32_t b = threadIdx.x; b < side.blocks; b += PENALTY_THREADS) {
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            sums.squares[k] += __ldcg(side.partial + 2 * b + k);
            sums.count[k] += __ldcg(side.count_partial + 2 * b + k);
        }
    }
    sums = block_sums(sums, shared);
    if (!has_points(p)) {
        const uint64_t terms = p.form == PENALTY_HALVES ? uint64_t(*side.count) * p.width : *p.batch_rows;
        const double scale = double(p.strength[0]) / double(terms);
        if (threadIdx.x == 0) side.pull[0] = float(2.0 * scale);
        return scale * sums.squares[0];
    }
    const bool across = p.form == PENALTY_ACROSS, both = sums.count[0] > 0 && sums.count[1] > 0;
    double n[2], strength[2];
    UNROLL
    for (unsigned k = 0; k < 2; k++) {
        n[k] = double(max(sums.count[k], 1u));
        strength[k] = across ? (both ? double(p.strength[0]) : 0.0) : double(p.strength[k]);
        if (threadIdx.x == k) side.pull[k] = float(2.0 * strength[k] / n[k]);
    }
    double means = 0.0;  // across: 2 mean . mean; within: the squared means
    for (uint32_t c = threadIdx.x; c < side.stride; c += PENALTY_THREADS) {
        double mean[2] = {0.0, 0.0};
        for (uint32_t b = 0; b < side.blocks; b++) {
            UNROLL
            for (unsigned k = 0; k < 2; k++) {
                mean[k] += __ldcg(side.row_partial + (2 * uint64_t(b) + k) * side.stride + c);
            }
        }
        mean[0] /= n[0], mean[1] /= n[1];
        side.points[c] = float(across ? mean[1] : mean[0]);
        side.points[side.stride + c] = float(across ? mean[0] : mean[1]);
        means += across ? 2.0 * strength[0] * mean[0] * mean[1]
                        : strength[0] * mean[0] * mean[0] + strength[1] * mean[1] * mean[1];
    }
    means = block_sum<WARPS>(means, shared.partial);
    __syncthreads();
    return strength[0] * sums.squares[0] / n[0] + strength[1] * sums.squares[1] / n[1] - means;
}

template <unsigned WIDTH> DEVICE void run(const Penalty &p, Shared &shared, float *rows) {
    const uint32_t users = p.side[0].blocks;
    const unsigned which = blockIdx.x >= users;
    sum_rows<WIDTH>(p, p.side[which], blockIdx.x - (which ? users : 0), shared, rows);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) shared.last = atomicAdd(p.arrived, 1) == gridDim.x - 1;
    __syncthreads();
    if (!shared.last) return;
    __threadfence();
    double total = 0.0;
    for (unsigned k = 0; k < 2; k++) {
        if (p.side[k].blocks > 0) total += value(p, p.side[k], shared);
    }
    if (threadIdx.x == 0) {
        p.losses[LOSS_PARTS] += total;
        *p.arrived = 0;
    }
}

}  // namespace penalty

// Dynamic shared memory: [warps, W] f32, across and within only.
#define PENALTY(W)                                        \
    KERNEL_RESIDENT(penalty_##W, Penalty p, PENALTY_THREADS, (W < 512 ? 3 : W < 1024 ? 2 : 1)) { \
        __shared__ penalty::Shared shared;                \
        DYNAMIC_SHARED(float, rows);                      \
        penalty::run<W>(p, shared, rows);                 \
    }
EVERY_WIDTH(PENALTY)
#undef PENALTY

// gather: the rows that a batch touches, brought to the state before the step, side by side; their branch logits; the
// L2 loss.
//
//   rows[slot] = p - m (w0 / (s r0 + eps) + w1 / (s r1 + eps)),  s = sqrt(v)     (adam.cuh)
//   logit[slot] = branch . rows[slot]
//   l2_loss[block] = sum of 1/2 l2/n samples(slot) |rows[slot]|^2 of its slots, a user's samples counting half
//
// LightGCN: every step moves all parameters, so they are up to date. rows[slot] is the final embedding, which spmm or
// gram has written, and the L2 loss that of the parameters; or, where branches score these, rows[slot] is the parameters.
//
// One group of lanes a slot, two slots at once where they are narrow, so that each lane has six 128-bit loads in
// flight. Blocks before `item_block` are the users', the others the items'. Moves 12 W + 8 bytes a touched row in, 10 W
// + 8 where parameters have 16 bits, and 4 W out; the rows written stay in the second-level cache for step and apply,
// and so do the moments for apply.
//
// Deterministic: every slot has one group; sums over lanes, and over a block, are trees.
#include "adam.cuh"

namespace gather {

constexpr unsigned WARPS = GATHER_THREADS / WARP;

template <class T, unsigned WIDTH> DEVICE void run(const Gather &p, double *partial) {
    using R = Row<WIDTH>;
    constexpr unsigned AT_ONCE = R::V == 1 ? 2 : 1, GROUPS = GATHER_THREADS / R::G;
    const unsigned which = blockIdx.x >= p.item_block;
    const GatherSide &side = p.side[which];
    const uint32_t count = *side.count;
    const uint64_t now = *p.step;
    const uint32_t first =
        (blockIdx.x - (which ? p.item_block : 0)) * GROUPS * AT_ONCE + threadIdx.x / R::G;

    bool inside[AT_ONCE];
    uint64_t last[AT_ONCE];
    uint32_t samples[AT_ONCE];
    R own[AT_ONCE], m[AT_ONCE], v[AT_ONCE];
    UNROLL
    for (unsigned i = 0; i < AT_ONCE; i++) {
        const uint32_t slot = first + i * GROUPS;
        // Read before it is known whether there is such a slot: one wait less.
        const bool possible = slot < 2 * p.batch;
        const uint32_t touched = possible ? side.touched[slot] : 0;
        const uint32_t begin = possible ? side.starts[slot] : 0, end = possible ? side.starts[slot + 1] : 0;
        inside[i] = slot < count;
        const uint32_t id = inside[i] ? touched : 0;
        const uint64_t at = uint64_t(id) * p.stride;
        own[i] = R::load(static_cast<const T *>(side.table.p) + at, p.stride, inside[i]);
        m[i] = R::load(side.table.m + at, p.stride, inside[i] && !p.current);
        v[i] = R::load(side.table.v + at, p.stride, inside[i] && !p.current);
        last[i] = inside[i] ? side.table.last[id] : 0;
        samples[i] = inside[i] ? end - begin : 0;
    }
    const bool branched = side.branch != nullptr;
    const R branch = R::load(branched ? side.branch + (now & 1) * p.stride : nullptr, p.stride, branched);
    double norm = 0.0;
    UNROLL
    for (unsigned i = 0; i < AT_ONCE; i++) {
        const uint32_t slot = first + i * GROUPS;
        float *row = side.rows + uint64_t(slot) * p.stride;
        if (!p.current) adam::catch_up(p.adam, p.weights, last[i], now, own[i], m[i], v[i]);
        if (inside[i] && !p.filled) own[i].store(row, p.stride);
        const float squares = dot(own[i], own[i]);
        if (branched) {
            if (p.filled) own[i] = R::load(row, p.stride, inside[i]);
            const float logit = dot(branch, own[i]);
            if (inside[i] && R::lane() == 0) side.logit[slot] = logit;
        }
        if (R::lane() == 0) norm += double(samples[i]) * double(squares);
    }
    norm = block_sum<WARPS>(norm, partial);
    // A user is counted once a row, and so half for each of the row's two samples.
    if (threadIdx.x == 0) p.l2_loss[blockIdx.x] = norm * double(p.l2) / double(*p.rows) * (which ? 0.5 : 0.25);
}

}  // namespace gather

#define GATHER(NAME, T, W)                                 \
    KERNEL(gather_##NAME##W, Gather p, GATHER_THREADS) {   \
        __shared__ double partial[gather::WARPS];          \
        gather::run<T, W>(p, partial);                     \
    }
EVERY_TABLE(GATHER)
#undef GATHER

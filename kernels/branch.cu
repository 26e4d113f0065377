// branch: branches with a hidden layer of H units, on the rows x of a step; and linear ones where these rows are not
// those that step has in its registers.
//
//   y = b2 + w2 . relu(h),  h = W1 x + b1
//   dx[slot] = sum over the units with h > 0 of u w2 W1[unit],  u = (sum of dL/dy over the slot's samples)
//   dW1[unit] = sum over the slots with h > 0 of u w2 x,  db1 = sum of u w2,  dw2 = sum of u h,  db2 = sum of u
// or, linear,  y = w . x,  dx[slot] = u w,  dw = sum of u x
//
// branch_forward_W   logits, between gather and step. A group of lanes a slot; W1 comes from the caches.
// branch_backward_W  dx, which apply adds to the slots' gradients or Adam to the parameters', and partial gradients of the parameters, [blocks, P].
//                    A block goes over tiles of slots, a group of lanes a slot: for UNITS units at a time first h again and
//                    what each slot gives to each unit, in shared memory, then a thread an element of the gradient.
// branch_update      a thread a parameter: the partials, and Adam.
//
// H W multiply-adds a slot forward, 3 H W backward; 4 W B read a slot for every UNITS units, 4 W B written; 8 P B a block
// and tile.
//
// Deterministic: places of a slot by lane and then by a tree, slots in their order, tiles of a block in theirs, blocks in
// theirs; no atomics.
#include "adam.cuh"

namespace branch {

constexpr uint32_t UNITS = BRANCH_UNITS;

// Number of parameters, P.
DEVICE uint32_t size(const BranchSide &side, uint32_t stride) {
    return side.hidden > 0 ? side.hidden * (stride + 2) + 1 : stride;
}

// The parameters of a side, one after the other; a linear one has w1 alone.
struct Layers {
    const float *w1, *b1, *w2, *b2;

    DEVICE Layers(const BranchSide &side, uint32_t stride)
        : w1(side.values), b1(w1 + side.hidden * stride), w2(b1 + side.hidden), b2(w2 + side.hidden) {}
};

template <unsigned WIDTH> DEVICE void forward(const Branch &p) {
    using R = Row<WIDTH>;
    constexpr uint32_t GROUPS = BRANCH_THREADS / R::G;
    const bool items = blockIdx.x >= p.item_block;
    const BranchSide &side = p.side[items];
    const uint32_t slot = (blockIdx.x - (items ? p.item_block : 0)) * GROUPS + threadIdx.x / R::G;
    const bool inside = slot < *side.count;
    const R x = R::load(side.rows + uint64_t(slot) * p.stride, p.stride, inside);
    const Layers layers(side, p.stride);
    float y = side.hidden > 0 ? *layers.b2 : dot(R::load(layers.w1, p.stride), x);
    for (uint32_t k = 0; k < side.hidden; k++) {
        const float h = dot(R::load(layers.w1 + k * p.stride, p.stride), x) + layers.b1[k];
        y = fmaf(layers.w2[k], fmaxf(h, 0.0f), y);
    }
    if (inside && R::lane() == 0) side.logit[slot] = y;
}

template <unsigned WIDTH> struct Shared {
    static constexpr uint32_t GROUPS = BRANCH_THREADS / Row<WIDTH>::G;
    float upstream[GROUPS];
    float before[GROUPS][UNITS];  // what a slot gives to a unit before relu
    float after[GROUPS][UNITS];   // and to its weight
};

// dL/dy, summed over the samples of a slot. All groups of the warp take part.
template <unsigned WIDTH> DEVICE float upstream(const Branch &p, const BranchSide &side, uint32_t slot, bool inside) {
    using R = Row<WIDTH>;
    const uint32_t n = *p.rows, begin = inside ? side.starts[slot] : 0, end = inside ? side.starts[slot + 1] : 0;
    float sum = 0.0f;
    for (uint32_t place = begin + R::lane(); place < end; place += R::G) {
        const uint32_t sample = side.samples[place];
        if (sample < n) sum += side.logit_gradient[sample];
        else if (side.logit_samples == 2) sum += side.logit_gradient[sample - n + p.batch];
    }
    return group_sum<R::G>(sum);
}

template <unsigned WIDTH> DEVICE void backward(const Branch &p, Shared<WIDTH> &shared) {
    using R = Row<WIDTH>;
    constexpr uint32_t GROUPS = Shared<WIDTH>::GROUPS;
    const bool items = blockIdx.x >= BRANCH_BLOCKS;
    const BranchSide &side = p.side[items];
    if (side.values == nullptr) return;
    const Layers layers(side, p.stride);
    const uint32_t block = blockIdx.x % BRANCH_BLOCKS, group = threadIdx.x / R::G, count = *side.count;
    const bool linear = side.hidden == 0;
    const uint32_t hidden = linear ? 1 : side.hidden, size = branch::size(side, p.stride);
    float *partial = side.partial + uint64_t(block) * size;
    for (uint32_t i = threadIdx.x; i < size; i += BRANCH_THREADS) partial[i] = 0.0f;
    __syncthreads();

    for (uint32_t first = block * GROUPS; first < count; first += BRANCH_BLOCKS * GROUPS) {
        const uint32_t slot = first + group, slots = min(GROUPS, count - first);
        const bool inside = slot < count;
        const R x = R::load(side.rows + uint64_t(slot) * p.stride, p.stride, inside);
        const float u = upstream<WIDTH>(p, side, slot, inside);
        if (R::lane() == 0) shared.upstream[group] = u;
        R dx = R::zero();
        for (uint32_t unit = 0; unit < hidden; unit += UNITS) {
            const uint32_t units = min(UNITS, hidden - unit);
            for (uint32_t k = 0; k < units; k++) {
                const R w = R::load(layers.w1 + (unit + k) * p.stride, p.stride);
                float before = u, after = 0.0f;
                if (!linear) {
                    const float h = dot(w, x) + layers.b1[unit + k];
                    before = h > 0.0f ? u * layers.w2[unit + k] : 0.0f;
                    after = u * fmaxf(h, 0.0f);
                }
                dx.add(before, w);
                if (R::lane() == 0) shared.before[group][k] = before, shared.after[group][k] = after;
            }
            __syncthreads();
            float *w1 = partial + unit * p.stride, *b1 = partial + side.hidden * p.stride + unit, *w2 = b1 + side.hidden;
            for (uint32_t i = threadIdx.x; i < units * p.stride; i += BRANCH_THREADS) {
                const uint32_t k = i / p.stride;
                const float *column = side.rows + uint64_t(first) * p.stride + i % p.stride;
                float sum = w1[i];
                for (uint32_t s = 0; s < slots; s++) sum = fmaf(shared.before[s][k], column[s * p.stride], sum);
                w1[i] = sum;
            }
            for (uint32_t k = threadIdx.x; !linear && k < units; k += BRANCH_THREADS) {
                float before = b1[k], after = w2[k];
                for (uint32_t s = 0; s < slots; s++) before += shared.before[s][k], after += shared.after[s][k];
                b1[k] = before, w2[k] = after;
            }
            if (threadIdx.x == 0 && unit == 0 && !linear) {
                float sum = partial[size - 1];
                for (uint32_t s = 0; s < slots; s++) sum += shared.upstream[s];
                partial[size - 1] = sum;
            }
            __syncthreads();
        }
        if (inside) dx.store(side.dx + uint64_t(slot) * p.stride, p.stride);
    }
}

}  // namespace branch

KERNEL(branch_update, Branch p, BRANCH_THREADS) {
    const bool items = blockIdx.x >= p.item_block;
    const BranchSide &side = p.side[items];
    const uint32_t i = (blockIdx.x - (items ? p.item_block : 0)) * BRANCH_THREADS + threadIdx.x;
    const uint32_t size = branch::size(side, p.stride);
    if (i >= size) return;
    float gradient = 0.0f;
    UNROLL_4
    for (uint32_t b = 0; b < BRANCH_BLOCKS; b++) gradient += side.partial[uint64_t(b) * size + i];
    adam::step(p.adam, adam::rate(p.adam, *p.step + 1), gradient, side.values[i], side.m[i], side.v[i]);
}

#define BRANCH(W)                                                                       \
    KERNEL(branch_forward_##W, Branch p, BRANCH_THREADS) { branch::forward<W>(p); }     \
    KERNEL(branch_backward_##W, Branch p, BRANCH_THREADS) {                             \
        __shared__ branch::Shared<W> shared;                                            \
        branch::backward<W>(p, shared);                                                 \
    }
EVERY_WIDTH(BRANCH)
#undef BRANCH

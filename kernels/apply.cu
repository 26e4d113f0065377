// apply: ends a step. Per touched row the gradient, and Adam in place; Adam on the branch vectors; the loss's totals.
//
//   g[slot] = sum over its samples s of dL/da[s] partner(s)  +  samples(slot) l2 own  +  (sum of dL/dy[s]) branch
//             or, of a branch with a hidden layer, + dx[slot]
//   p, m, v, last = Adam of g, with m and v first decayed over the steps that the row has missed    (adam.cuh)
//
// A p of 16 bits is rounded at random (storage.cuh).
//
// apply_general_W is for objectives that have more: rows of two vectors (parts.cuh), each in its own score, or a user's
// one vector in both; a penalty, which pulls each row towards a target (penalty.cu); item biases, which Adam moves all in
// every step. apply_W knows nothing of these. It is one kernel for all forms of parameters, which only the store depends
// on: to compile it three times would cost more than to ask for the form once a row.
//
// LightGCN: g without L2 is the gradient of the final embeddings and is written as it is, [slots, W].
//
// Samples lie by row: place j holds a sample, a row's places follow one another, and the order of every sum is that of
// the places. One group of lanes does a row of at most WINDOW samples. A longer row (popular items) is cut where its
// places cross multiples of WINDOW: one group sums a window's part of it, and the group that arrives last at the row,
// by a count in device memory, adds the parts in their order and finishes the row. A window holds parts of two such
// rows at most, one that ends and one that begins in it. Windows come first, so that the longest rows begin first.
// Block 0 sums the partials of step and gather. Branch vectors are read from one half of their buffer, chosen by the
// parity of the step, and written to the other. The last blocks move the biases of untouched items, a thread each; those
// of touched ones are moved by the group that finishes the row, which has the sum of dL/dy.
//
// Moves 4 W bytes a sample from the second-level cache; 16 W in and 12 W out a touched row, 10 W out where parameters have
// 16 bits; 8 W twice a window part; 24 bytes a bias; with a penalty 4 W more a touched row, from the cache.
//
// Deterministic: who finishes a long row depends on timing, what is added in which order does not. No floating-point
// atomics; nobody waits for another block.
#include "adam.cuh"
#include "parts.cuh"

namespace apply {

constexpr unsigned WARPS = APPLY_THREADS / WARP;
constexpr uint32_t WINDOW = APPLY_WINDOW;

// Distance of the rows of side `which`.
template <bool GENERAL> DEVICE uint32_t stride_of(const Apply &p, unsigned which) {
    return GENERAL ? p.general[which].stride : p.stride;
}

template <unsigned WIDTH> struct Gradient {
    Row<WIDTH> row;
    float upstream;  // dL/dy, summed over the samples
};

// Sums `n` <= WINDOW samples from `place` on; n may differ between the groups of a warp, which all take part.
template <unsigned WIDTH, bool GENERAL>
DEVICE Gradient<WIDTH> sum_samples(const Apply &p, unsigned which, uint32_t rows, uint32_t place, uint32_t n) {
    using R = Row<WIDTH>;
    const ApplySide &side = p.side[which];
    // Samples whose scalars are read at once, one a lane; and those whose rows are.
    constexpr uint32_t LANES = R::G < WINDOW ? R::G : WINDOW, AT_ONCE = R::V < 4 ? 4 / R::V : 1;
    Gradient<WIDTH> sum = {R::zero(), 0.0f};
    for (uint32_t begin = 0; begin < WINDOW; begin += LANES) {
        if (begin > 0 && !__any_sync(ALL_LANES, begin < n)) break;
        const uint32_t k = begin + R::lane();
        const bool inside = R::lane() < LANES && k < n;
        const uint32_t sample = inside ? side.samples[place + k] : 0;
        const bool positive = sample < rows;
        const uint32_t at = positive ? sample : sample - rows + p.batch;
        const float coefficient = inside ? p.score_gradient[at] : 0.0f;
        const float second = GENERAL && inside && p.second_gradient != nullptr ? p.second_gradient[at] : 0.0f;
        const uint32_t partner = inside ? side.partner_slot[sample] : 0;
        const bool has_logit = inside && side.logit_gradient != nullptr && (positive || side.logit_samples == 2);
        sum.upstream += has_logit ? side.logit_gradient[at] : 0.0f;
        for (uint32_t first = 0; first < LANES; first += AT_ONCE) {
            if (first > 0 && !__any_sync(ALL_LANES, begin + first < n)) break;
            float a[AT_ONCE];
            R partners[AT_ONCE];
            if constexpr (GENERAL) {
                const GeneralSide &general = p.general[which];
                // The one vector of a row meets both of its partners'.
                const unsigned vectors = general.stride < general.partner_stride ? 2 : 1;
                NO_UNROLL
                for (unsigned vector = 0; vector < vectors; vector++) {
                    float b[AT_ONCE];
                    UNROLL
                    for (uint32_t i = 0; i < AT_ONCE; i++) {
                        a[i] = __shfl_sync(ALL_LANES, vector == 0 ? coefficient : second, first + i, R::G);
                        b[i] = __shfl_sync(ALL_LANES, second, first + i, R::G);
                        const uint64_t slot = __shfl_sync(ALL_LANES, partner, first + i, R::G);
                        const float *from = side.partners + slot * general.partner_stride + vector * p.part;
                        partners[i] = load_repeated<WIDTH>(from, general.stride, general.partner_stride,
                                                           begin + first + i < n);
                    }
                    UNROLL
                    for (uint32_t i = 0; i < AT_ONCE; i++) add_parts(sum.row, a[i], b[i], p.part, partners[i]);
                }
            } else {
                UNROLL
                for (uint32_t i = 0; i < AT_ONCE; i++) {
                    a[i] = __shfl_sync(ALL_LANES, coefficient, first + i, R::G);
                    const uint64_t slot = __shfl_sync(ALL_LANES, partner, first + i, R::G);
                    partners[i] = R::load(side.partners + slot * p.stride, p.stride, begin + first + i < n);
                }
                UNROLL
                for (uint32_t i = 0; i < AT_ONCE; i++) sum.row.add(a[i], partners[i]);
            }
        }
    }
    sum.upstream = group_sum<R::G>(sum.upstream);
    return sum;
}

// What finishing a row reads.
template <unsigned WIDTH, bool GENERAL> struct Touched {
    Row<WIDTH> own, m, v;
    uint64_t last;
    uint32_t id;

    DEVICE Touched(const Apply &p, unsigned which, uint32_t slot, uint32_t id, bool wanted) : id(id) {
        const ApplySide &side = p.side[which];
        const uint32_t stride = stride_of<GENERAL>(p, which);
        const bool pulled = GENERAL && wanted && p.general[which].penalty != PENALTY_NONE;
        wanted = wanted && side.gradient == nullptr;
        const uint64_t at = uint64_t(id) * stride;
        own = Row<WIDTH>::load(side.own + uint64_t(slot) * stride, stride, wanted || pulled);
        m = Row<WIDTH>::load(side.table.m + at, stride, wanted);
        v = Row<WIDTH>::load(side.table.v + at, stride, wanted);
        last = wanted ? side.table.last[id] : 0;
    }
};

// Adds what the penalty on a row gives.
template <unsigned WIDTH>
DEVICE void pull(const Apply &p, unsigned which, uint32_t slot, const Touched<WIDTH, true> &row, uint32_t samples,
                 Row<WIDTH> &gradient) {
    using R = Row<WIDTH>;
    const GeneralSide &side = p.general[which];
    const uint32_t form = side.penalty;
    const float constant = side.constants != nullptr ? side.constants[row.id] : 0.0f;
    const unsigned kind = (form == PENALTY_ACROSS || form == PENALTY_WITHIN) && constant > 0.5f;
    float coefficient = side.pull[kind];
    R target = R::zero();
    if (form == PENALTY_HALVES) {
        target = load_exchanged<WIDTH>(p.side[which].own + uint64_t(slot) * side.stride, p.part);
    } else {
        coefficient *= float(samples);
        if (form == PENALTY_DECAY) coefficient *= constant;
        else target = R::load(side.points + kind * side.stride, side.stride);
    }
    UNROLL
    for (unsigned j = 0; j < R::N; j++) gradient.x[j] = fmaf(coefficient, row.own.x[j] - target.x[j], gradient.x[j]);
}

// Rounds the parameters of a row to the form of T, and stores them `at` numbers from the table's first.
template <class T, unsigned WIDTH>
DEVICE void store(const Rows &table, uint64_t at, uint32_t stride, const Noise &noise, Row<WIDTH> row) {
    row.template round<T>(noise);
    row.store(static_cast<T *>(table.p) + at, stride);
}

// T is void where the form is known at run time: where GENERAL.
template <class T, unsigned WIDTH, bool GENERAL>
DEVICE void finish(const Apply &p, unsigned which, uint32_t rows, uint32_t slot, Touched<WIDTH, GENERAL> row,
                   uint32_t samples, Gradient<WIDTH> gradient) {
    using R = Row<WIDTH>;
    const ApplySide &side = p.side[which];
    const uint32_t stride = stride_of<GENERAL>(p, which);
    const uint64_t now = *p.step;
    gradient.row.add(side.l2 / float(rows) * float(samples), row.own);
    if (side.branch != nullptr) {
        gradient.row.add(gradient.upstream, R::load(side.branch + (now & 1) * stride, stride));
    }
    if (side.dx != nullptr) gradient.row.add(1.0f, R::load(side.dx + uint64_t(slot) * stride, stride));
    if constexpr (GENERAL) {
        const GeneralSide &general = p.general[which];
        if (general.penalty != PENALTY_NONE) pull(p, which, slot, row, samples, gradient.row);
        if (general.bias != nullptr && R::lane() == 0) {
            adam::step(p.adam, adam::rate(p.adam, now + 1), gradient.upstream, general.bias[row.id],
                       general.bias_m[row.id], general.bias_v[row.id]);
        }
    }
    if (side.gradient != nullptr) return gradient.row.store(side.gradient + uint64_t(slot) * stride, stride);
    adam::decay(p.adam, row.last, now, row.m, row.v);
    const float rate = adam::rate(p.adam, now + 1);
    UNROLL
    for (unsigned j = 0; j < R::N; j++) {
        adam::step(p.adam, rate, gradient.row.x[j], row.own.x[j], row.m.x[j], row.v.x[j]);
    }
    const uint64_t at = uint64_t(row.id) * stride;
    const Noise noise(side.table, now + 1, row.id);
    if constexpr (!GENERAL) store<T>(side.table, at, stride, noise, row.own);
    else if (p.form == FORM_F32) store<float>(side.table, at, stride, noise, row.own);
    else if (p.form == FORM_F16) store<F16>(side.table, at, stride, noise, row.own);
    else store<Bf16>(side.table, at, stride, noise, row.own);
    row.m.store(side.table.m + at, stride);
    row.v.store(side.table.v + at, stride);
    // All lanes have read it.
    __syncwarp(R::mask());
    if (R::lane() == 0) side.table.last[row.id] = now + 1;
}

// A row of at most WINDOW samples.
template <class T, unsigned WIDTH, bool GENERAL> DEVICE void slot(const Apply &p, unsigned which, uint32_t slot) {
    const ApplySide &side = p.side[which];
    // Read before it is known whether there is such a slot: one wait less.
    const bool possible = slot < 2 * p.batch;
    const uint32_t touched = possible ? side.touched[slot] : 0;
    const uint32_t begin = possible ? side.starts[slot] : 0, end = possible ? side.starts[slot + 1] : 0;
    const uint32_t rows = *p.rows, samples = end - begin;
    const bool whole = slot < *side.count && samples <= WINDOW;
    const uint32_t places = whole ? samples : 0, id = whole ? touched : 0;
    // The row is on its way while the samples are summed, unless the registers are needed for these.
    if constexpr (Row<WIDTH>::V < 8) {
        const Touched<WIDTH, GENERAL> row(p, which, slot, id, whole);
        const Gradient<WIDTH> sum = sum_samples<WIDTH, GENERAL>(p, which, rows, begin, places);
        if (whole) finish<T>(p, which, rows, slot, row, samples, sum);
    } else {
        const Gradient<WIDTH> sum = sum_samples<WIDTH, GENERAL>(p, which, rows, begin, places);
        if (whole) finish<T>(p, which, rows, slot, Touched<WIDTH, GENERAL>(p, which, slot, id, true), samples, sum);
    }
}

// The parts of longer rows that lie in the places WINDOW j .. WINDOW (j + 1).
template <class T, unsigned WIDTH, bool GENERAL> DEVICE void window(const Apply &p, unsigned which, uint32_t j) {
    using R = Row<WIDTH>;
    const ApplySide &side = p.side[which];
    const uint32_t stride = stride_of<GENERAL>(p, which);
    const uint32_t rows = *p.rows, begin = min(WINDOW * j, 2 * rows), end = min(begin + WINDOW, 2 * rows);
    const bool inside = begin < end;
    const uint32_t first = inside ? side.slot[side.samples[begin]] : 0;
    const uint32_t final = inside ? side.slot[side.samples[end - 1]] : 0;
    // Part 0 is of the row at the window's first place, part 1 of one that begins later.
    NO_UNROLL
    for (unsigned part = 0; part < 2; part++) {
        const uint32_t slot = part == 0 ? first : final;
        const uint32_t row_begin = side.starts[slot], row_end = side.starts[slot + 1];
        const bool wanted = inside && row_end - row_begin > WINDOW && (part == 0 || final != first);
        if (!__any_sync(ALL_LANES, wanted)) continue;
        const uint32_t from = max(begin, row_begin), to = min(end, row_end);
        const Gradient<WIDTH> sum = sum_samples<WIDTH, GENERAL>(p, which, rows, from, wanted ? to - from : 0);
        if (wanted) {
            sum.row.store(side.partial + uint64_t(2 * j + part) * stride, stride);
            if (R::lane() == 0) side.partial_upstream[2 * j + part] = sum.upstream;
        }
        __threadfence();
        __syncwarp();
        const uint32_t first_window = row_begin / WINDOW, last_window = (row_end - 1) / WINDOW;
        uint32_t arrived = 0;
        if (wanted && R::lane() == 0) arrived = atomicAdd(side.arrived + first_window, 1);
        arrived = __shfl_sync(ALL_LANES, arrived, 0, R::G);
        if (!wanted || arrived != last_window - first_window) continue;

        __threadfence();
        Gradient<WIDTH> total = {R::zero(), 0.0f};
        // Only in its first window, and there only if it begins inside, is a row part 1.
        uint32_t at = 2 * first_window + (row_begin % WINDOW != 0);
        UNROLL_4
        for (uint32_t w = first_window; w <= last_window; w++) {
            total.row.add(1.0f, R::load_shared(side.partial + uint64_t(at) * stride, stride));
            total.upstream += __ldcg(side.partial_upstream + at);
            at = 2 * (w + 1);
        }
        finish<T>(p, which, rows, slot, Touched<WIDTH, GENERAL>(p, which, slot, side.touched[slot], true),
                  row_end - row_begin, total);
        if (R::lane() == 0) side.arrived[first_window] = 0;
    }
}

// The biases APPLY_THREADS block .. of items that no sample has; `touched` is [APPLY_THREADS].
DEVICE void untouched_biases(const Apply &p, uint32_t block, bool *touched) {
    const ApplySide &side = p.side[1];
    const GeneralSide &general = p.general[1];
    const uint32_t first = block * APPLY_THREADS, item = first + threadIdx.x, count = *side.count;
    touched[threadIdx.x] = false;
    // Touched items ascend: where those of this block begin.
    uint32_t low = 0;
    for (uint32_t left = count; left > 0;) {
        const uint32_t half = left / 2;
        const bool less = side.touched[low + half] < first;
        low = less ? low + half + 1 : low;
        left = less ? left - half - 1 : half;
    }
    __syncthreads();
    const uint32_t slot = low + threadIdx.x;
    const uint32_t other = slot < count ? side.touched[slot] - first : APPLY_THREADS;
    if (other < APPLY_THREADS) touched[other] = true;
    __syncthreads();
    if (item >= general.rows || touched[threadIdx.x]) return;
    adam::step(p.adam, adam::rate(p.adam, *p.step + 1), 0.0f, general.bias[item], general.bias_m[item],
               general.bias_v[item]);
}

// Block 0. `shared` is [groups of the block, W].
template <unsigned WIDTH> DEVICE void reduce(const Apply &p, double *partial, float *shared) {
    using R = Row<WIDTH>;
    constexpr uint32_t GROUPS = APPLY_THREADS / R::G;
    UNROLL
    for (uint32_t part = 0; part <= LOSS_PARTS; part++) {
        const bool l2 = part == LOSS_PARTS;
        double sum = 0.0;
        for (uint32_t b = threadIdx.x; b < (l2 ? p.gather_blocks : p.step_blocks); b += APPLY_THREADS) {
            sum += l2 ? p.l2_loss[b] : p.loss_partial[b * LOSS_PARTS + part];
        }
        sum = block_sum<WARPS>(sum, partial);
        if (threadIdx.x == 0) p.losses[l2 ? LOSS_PARTS + 1 : part] += sum;
        __syncthreads();
    }
    const uint64_t now = *p.step;
    const float rate = adam::rate(p.adam, now + 1);
    UNROLL
    for (uint32_t which = 0; which < 2; which++) {
        const ApplySide &side = p.side[which];
        if (side.branch == nullptr) continue;
        const uint32_t group = threadIdx.x / R::G;
        R sum = R::zero();
        UNROLL_4
        for (uint32_t b = group; b < p.step_blocks; b += GROUPS) {
            sum.add(1.0f, R::load(p.branch_partial + (2 * uint64_t(b) + which) * p.stride, p.stride));
        }
        sum.store(shared + group * p.stride, p.stride);
        __syncthreads();
        for (uint32_t c = threadIdx.x; c < p.stride; c += APPLY_THREADS) {
            float g = 0.0f;
            for (uint32_t k = 0; k < GROUPS; k++) g += shared[k * p.stride + c];
            float value = side.branch[(now & 1) * p.stride + c], m = side.branch_m[c], v = side.branch_v[c];
            adam::step(p.adam, rate, g, value, m, v);
            side.branch[(~now & 1) * p.stride + c] = value;
            side.branch_m[c] = m, side.branch_v[c] = v;
        }
        __syncthreads();
    }
}

template <class T, unsigned WIDTH, bool GENERAL> DEVICE void run(const Apply &p, double *partial, bool *touched) {
    constexpr uint32_t GROUPS = APPLY_THREADS / Row<WIDTH>::G;
    const uint32_t b = blockIdx.x, group = threadIdx.x / Row<WIDTH>::G;
    if (b == 0) {
        DYNAMIC_SHARED(float, shared);
        return reduce<WIDTH>(p, partial, shared);
    }
    if (b < p.item_slots) {
        const unsigned which = b < p.user_windows;
        return window<T, WIDTH, GENERAL>(p, which, (b - (which ? 1 : p.user_windows)) * GROUPS + group);
    }
    if constexpr (GENERAL) {
        if (b >= p.bias_block) return untouched_biases(p, b - p.bias_block, touched);
    }
    const unsigned which = b < p.user_slots;
    slot<T, WIDTH, GENERAL>(p, which, (b - (which ? p.item_slots : p.user_slots)) * GROUPS + group);
}

}  // namespace apply

// Dynamic shared memory: [groups of the block, W] f32 where there are branches.
#define APPLY(NAME, T, W)                                \
    KERNEL(apply_##NAME##W, Apply p, APPLY_THREADS) {    \
        __shared__ double partial[apply::WARPS];         \
        apply::run<T, W, false>(p, partial, nullptr);    \
    }
EVERY_TABLE(APPLY)
#undef APPLY

#define APPLY_GENERAL(W)                                                                                  \
    KERNEL_RESIDENT(apply_general_##W, Apply p, APPLY_THREADS, (W < 512 ? 3 : W < 1024 ? 2 : 1)) {        \
        __shared__ double partial[apply::WARPS];                                                          \
        __shared__ bool touched[APPLY_THREADS];                                                           \
        apply::run<void, W, true>(p, partial, touched);                                                   \
    }
EVERY_WIDTH(APPLY_GENERAL)
#undef APPLY_GENERAL

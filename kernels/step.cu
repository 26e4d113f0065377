// step: match scores of a batch's rows, the objective's scalar stage, and the gradients of the branch vectors.
//
//   a+_r = p_u . q_i,  a-_r = p_u . q_j     for row r = (u, i, j), from the gathered rows by slot
//   loss, dL/da, dL/dy_u, dL/dy_i           from kernels/objectives
//   divided rows: a second pair of scores, from the second vectors, and its dL/da    (parts.cuh)
//   branch_partial[block] = (sum dL/dy_u p_u,  sum dL/dy_i q_i) over the block's rows
//
// step_OBJECTIVE_W     all of this.
// step_macr_scores_W   all pairs, first half: scores and gates.
// step_macr_sums_W     all pairs, second half: the stage with the main loss and its derivatives from all_pairs.
//
// A warp takes TILE rows at once: a lane reads the slots and logits of one row, the groups of lanes read three
// embeddings a row with all loads of the tile in flight, and the scalar stage runs with one row a lane. Blocks go over
// the batch in strides of the grid. Moves 12 W bytes a row from the second-level cache, and 40 bytes of scalars.
//
// Deterministic: a row has one lane, a lane its rows in order; sums over lanes are trees, sums over warps in their
// order, and each block has its own partial.
#include "objectives/bce.cuh"
#include "objectives/bpr.cuh"
#include "objectives/bs.cuh"
#include "objectives/cause.cuh"
#include "objectives/dice.cuh"
#include "objectives/ipw.cuh"
#include "objectives/macr.cuh"
#include "parts.cuh"

namespace step {

constexpr unsigned WARPS = STEP_THREADS / WARP;

enum Part { WHOLE, SCORES, SUMS };

// The block's sum of a row over all groups of its warps, by column, into `out`. `shared` is [WARPS, W].
template <unsigned WIDTH> DEVICE void block_row(Row<WIDTH> row, float *shared, float *out, uint32_t stride) {
    using R = Row<WIDTH>;
    UNROLL
    for (unsigned distance = R::G; distance < WARP; distance *= 2) {
        UNROLL
        for (unsigned j = 0; j < R::N; j++) row.x[j] += __shfl_xor_sync(ALL_LANES, row.x[j], distance);
    }
    if (lane_id() < R::G) row.store(shared + warp_id() * stride, stride);
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < stride; c += STEP_THREADS) {
        float sum = 0.0f;
        UNROLL
        for (unsigned w = 0; w < WARPS; w++) sum += shared[w * stride + c];
        out[c] = sum;
    }
    __syncthreads();
}

template <class Objective, Part PART, unsigned WIDTH>
DEVICE void run(const Step &p, double (*loss_shared)[WARPS]) {
    using R = Row<WIDTH>;
    constexpr unsigned AT_ONCE = R::V < 4 ? 4 / R::V : 1, TILE = AT_ONCE * R::GROUPS;
    const Objective objective(p);
    const uint32_t n = *p.rows, lane = lane_id();
    R user_sum = R::zero(), item_sum = R::zero();
    double loss[LOSS_PARTS] = {};

    for (uint32_t base = (blockIdx.x * WARPS + warp_id()) * TILE; base < n; base += gridDim.x * WARPS * TILE) {
        const uint32_t row = base + lane;
        const bool mine = lane < TILE && row < n;
        // Lanes without a row read slot 0, which there is, and count for nothing.
        const uint32_t user = mine ? p.user_slot[row] : 0;
        const uint32_t item[2] = {mine ? p.item_slot[row] : 0, mine ? p.item_slot[n + row] : 0};
        Scalars s = {};
        s.weight = 1.0f / float(n);
        if constexpr (Objective::BRANCHES) {
            if (p.user_logit != nullptr) s.user_logit = p.user_logit[user];
            if (p.item_logit != nullptr) s.item_logit[0] = p.item_logit[item[0]], s.item_logit[1] = p.item_logit[item[1]];
        }
        if constexpr (Objective::CONSTANTS || Objective::BIAS) {
            UNROLL
            for (unsigned k = 0; k < 2; k++) {
                const uint32_t id = p.items[k][mine ? row : 0];
                if constexpr (Objective::CONSTANTS) s.item_constant[k] = p.item_constants[id];
                if constexpr (Objective::BIAS) s.item_logit[k] = p.item_bias[id];
            }
        }
        if constexpr (Objective::GROUPED) {
            s.second_group = (p.second[mine ? row / WARP : 0] >> row % WARP & 1) != 0;
            s.group_weight = p.group_weight[s.second_group];
        }
        R users[AT_ONCE], items[AT_ONCE][2];
        UNROLL
        for (unsigned i = 0; i < AT_ONCE; i++) {
            const int source = i * R::GROUPS + lane / R::G;
            const uint64_t u = __shfl_sync(ALL_LANES, user, source);
            if constexpr (Objective::DIVIDED) {
                users[i] = load_repeated<WIDTH>(p.user_rows + u * p.user_stride, p.stride, p.user_stride);
            } else {
                users[i] = R::load(p.user_rows + u * p.stride, p.stride);
            }
            UNROLL
            for (unsigned k = 0; k < 2; k++) {
                const uint64_t q = __shfl_sync(ALL_LANES, item[k], source);
                items[i][k] = R::load(p.item_rows + q * p.stride, p.stride);
            }
        }
        // Without it the compiler begins with the first rows before it asks for the last.
        __syncwarp();
        if constexpr (PART != SUMS) {
            UNROLL
            for (unsigned i = 0; i < AT_ONCE; i++) {
                UNROLL
                for (unsigned k = 0; k < 2; k++) {
                    // Row g of the i-th turn is in group g, and is wanted in lane i GROUPS + g.
                    const unsigned source = lane % R::GROUPS * R::G;
                    if constexpr (Objective::DIVIDED) {
                        const float2 both = dot_parts(users[i], items[i][k], p.part);
                        const float a = __shfl_sync(ALL_LANES, both.x, source);
                        const float b = __shfl_sync(ALL_LANES, both.y, source);
                        if (lane / R::GROUPS == i) s.score[k] = a, s.second_score[k] = b;
                    } else {
                        const float a = __shfl_sync(ALL_LANES, dot(users[i], items[i][k]), source);
                        if (lane / R::GROUPS == i) s.score[k] = a;
                    }
                }
            }
        }
        const uint32_t out[2] = {row, p.batch + row};
        if constexpr (PART == SCORES) {
            UNROLL
            for (unsigned k = 0; k < 2; k++) {
                if (mine) p.score[out[k]] = s.score[k], p.gate[out[k]] = objective.gate(s, k);
            }
            continue;
        } else {
            if constexpr (PART == SUMS) {
                UNROLL
                for (unsigned k = 0; k < 2; k++) {
                    s.gate_gradient[k] = mine ? p.gate_gradient[out[k]] : 0.0f;
                    s.loss[0] += mine ? p.sum_loss[out[k]] : 0.0f;
                }
            }
            objective.stage(s);
            if (mine) {
                UNROLL
                for (unsigned k = 0; k < 2; k++) {
                    if constexpr (PART == WHOLE) p.score_gradient[out[k]] = s.score_gradient[k];
                    if constexpr (Objective::DIVIDED) p.second_gradient[out[k]] = s.second_gradient[k];
                    if constexpr (Objective::BIAS) p.item_gradient[out[k]] = s.item_gradient[k];
                    if (Objective::BRANCHES && p.item_logit != nullptr) p.item_gradient[out[k]] = s.item_gradient[k];
                }
                if (Objective::BRANCHES && p.user_logit != nullptr) p.user_gradient[row] = s.user_gradient;
                UNROLL
                for (unsigned part = 0; part < LOSS_PARTS; part++) loss[part] += double(s.loss[part]);
            }
            if constexpr (Objective::BRANCHES) {
                UNROLL
                for (unsigned i = 0; i < AT_ONCE; i++) {
                    const int source = i * R::GROUPS + lane / R::G;
                    user_sum.add(__shfl_sync(ALL_LANES, mine ? s.user_gradient : 0.0f, source), users[i]);
                    UNROLL
                    for (unsigned k = 0; k < 2; k++) {
                        item_sum.add(__shfl_sync(ALL_LANES, mine ? s.item_gradient[k] : 0.0f, source), items[i][k]);
                    }
                }
            }
        }
    }

    if constexpr (PART != SCORES) {
        UNROLL
        for (unsigned part = 0; part < LOSS_PARTS; part++) {
            const double sum = block_sum<WARPS>(loss[part], loss_shared[part]);
            if (threadIdx.x == 0) p.loss_partial[blockIdx.x * LOSS_PARTS + part] = sum;
        }
        if constexpr (Objective::BRANCHES) {
            DYNAMIC_SHARED(float, shared);
            float *out = p.branch_partial + uint64_t(blockIdx.x) * 2 * p.stride;
            block_row(user_sum, shared, out, p.stride);
            block_row(item_sum, shared, out + p.stride, p.stride);
        }
    }
}

}  // namespace step

// Dynamic shared memory of all but the scores, where the objective has branches: [warps, W] f32.
#define STEP(name, Objective, PART, W)                           \
    KERNEL(step_##name##_##W, Step p, STEP_THREADS) {            \
        __shared__ double loss[LOSS_PARTS][step::WARPS];         \
        step::run<Objective, step::PART, W>(p, loss);            \
    }
#define STEPS(W)                                   \
    STEP(bce, Bce, WHOLE, W)                       \
    STEP(bpr, Bpr, WHOLE, W)                       \
    STEP(macr, Macr<false>, WHOLE, W)              \
    STEP(macr_scores, Macr<true>, SCORES, W)       \
    STEP(macr_sums, Macr<true>, SUMS, W)
EVERY_WIDTH(STEPS)
#undef STEPS
#undef STEP

// With more scalars a row than these: without a word the compiler gives up registers that it needs.
#define STEP(name, Objective, W)                                                      \
    KERNEL_RESIDENT(step_##name##_##W, Step p, STEP_THREADS, (W < 1024 ? 3 : 2)) {   \
        __shared__ double loss[LOSS_PARTS][step::WARPS];                              \
        step::run<Objective, step::WHOLE, W>(p, loss);                                \
    }
#define STEPS(W) STEP(bs, Bs, W) STEP(ipw, Ipw, W) STEP(cause, Cause, W) STEP(dice, Dice, W)
EVERY_WIDTH(STEPS)
#undef STEPS
#undef STEP

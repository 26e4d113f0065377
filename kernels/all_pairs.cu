// all_pairs: MACR's main loss over all n x n pairs of match score a and gate g, for both labels y: 1 for positives, 0 for
// negatives. With z = a_s g_r:
//
//     loss_s = 1/n^2 sum_r [softplus(z) - y z]    dL/da_s = 1/n^2 sum_r (sigma(z) - y) g_r
//                                                 dL/dg_r = 1/n^2 sum_s (sigma(z) - y) a_s
//
// The argument has rank one, so each of the three is a function of one variable, analytic on the batch's interval; they
// are interpolated in both variables at Chebyshev points, as in src/backend/cpu/all_pairs.rs. Four launches:
//
// all_pairs_ranges    least and greatest value. Block (part, list) goes through the list's samples by 512.
// all_pairs_moments   intervals and numbers of nodes N, and sum_s x_s T_l(x_s), l < N. Block (part, list), one thread a
//                     sample; 2 instructions a moment, and the transposed sum of 32 moments over a warp takes 31 shuffles.
// all_pairs_solve     one block a label, one warp a result: weights of the nodes from the moments, the node values from
//                     2 N_a N_g sigmoids, the coefficients of the three series; in f64, which is N^2 operations.
// all_pairs_evaluate  one thread a value: block i holds 64 rows times 6 outputs, by Clenshaw's recurrence with the
//                     coefficients in shared memory. Where scores have left every useful range and N would exceed 192, the
//                     same threads sum term by term.
//
// all_pairs_eps       alone, for the reference code's loss log(sigma + 1e-10): term by term, a warp for 4 samples of a
//                     list, lanes over the other list.
//
// A sample is 8 B read in three launches and 12 B written; the rest stays in the cache. Deterministic: every sum has a
// fixed order, over the lanes by a tree, over warps, parts and nodes in their order; no atomics.
#include "common.cuh"

namespace all_pairs {

constexpr double PI = 3.141592653589793;
constexpr double LN_2 = 0.6931471805599453;
// -ln of the aimed relative error of the interpolation, 1e-8.
constexpr float ACCURACY = 18.420680743952367f;
constexpr float EPSILON = 1e-10f;
constexpr uint32_t NODES = ALL_PAIRS_NODES, SERIES = ALL_PAIRS_SERIES, TILE = ALL_PAIRS_EPS_TILE;

enum Side { SCORE, GATE };
enum Output { LOSS, SCORE_GRADIENT, GATE_GRADIENT };

// Lists and series are numbered by side or output, then label.
DEVICE uint32_t numbered(uint32_t major, uint32_t label) { return 2 * major + label; }

DEVICE const float *values(const AllPairsSums &p, uint32_t side, uint32_t label) {
    return (side == SCORE ? p.score : p.gate) + uint64_t(label) * p.batch;
}

DEVICE float *result(const AllPairsSums &p, uint32_t output, uint32_t label) {
    float *of_both = output == LOSS ? p.loss : output == SCORE_GRADIENT ? p.score_gradient : p.gate_gradient;
    return of_both + uint64_t(label) * p.batch;
}

// Row 0 has label 1: sigma(z) - 1 = -sigma(-z), and the loss is softplus(-z).
DEVICE float sign(uint32_t label) { return label == 0 ? -1.0f : 1.0f; }

// ---- ranges

struct Range {
    float low, high;

    DEVICE void include(float x) { low = fminf(low, x), high = fmaxf(high, x); }
};

constexpr uint32_t PARTIAL_THREADS = ALL_PAIRS_PARTIAL_THREADS, PARTIAL_WARPS = PARTIAL_THREADS / WARP;
static_assert(PARTIAL_WARPS <= WARP && ALL_PAIRS_PARTS <= WARP, "one lane a warp, one lane a part");

DEVICE Range nothing() { return {INFINITY, -INFINITY}; }

DEVICE Range warp_range(Range r) {
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2) {
        r.low = fminf(r.low, __shfl_xor_sync(ALL_LANES, r.low, distance));
        r.high = fmaxf(r.high, __shfl_xor_sync(ALL_LANES, r.high, distance));
    }
    return r;
}

}  // namespace all_pairs

KERNEL(all_pairs_ranges, AllPairsSums p, ALL_PAIRS_PARTIAL_THREADS) {
    using namespace all_pairs;
    __shared__ Range partial[PARTIAL_WARPS];
    const uint32_t rows = *p.rows, list = blockIdx.y;
    const float *x = values(p, list / 2, list % 2);
    Range range = nothing();
    for (uint32_t i = blockIdx.x * PARTIAL_THREADS + threadIdx.x; i < rows; i += p.parts * PARTIAL_THREADS) {
        range.include(x[i]);
    }
    range = warp_range(range);
    if (lane_id() == 0) partial[warp_id()] = range;
    __syncthreads();
    if (warp_id() != 0) return;
    range = warp_range(lane_id() < PARTIAL_WARPS ? partial[lane_id()] : nothing());
    if (lane_id() == 0) {
        float *out = p.ranges + 2 * (list * p.parts + blockIdx.x);
        out[0] = range.low, out[1] = range.high;
    }
}

namespace all_pairs {

// ---- moments

struct Interval {
    double centre, half;

    DEVICE double largest() const { return fabs(centre) + half; }
};

// To an interval's own variable, within -1 and 1, in f32.
struct Scaling {
    float centre, factor;

    DEVICE float operator()(float x) const { return (x - centre) * factor; }
};

// The interval of a list, by a whole warp. That of the scores holds 0, where the loss is known.
DEVICE Interval interval(const AllPairsSums &p, uint32_t side, uint32_t label) {
    Range range = nothing();
    if (lane_id() < p.parts) {
        const float *part = p.ranges + 2 * (numbered(side, label) * p.parts + lane_id());
        range = {part[0], part[1]};
    }
    range = warp_range(range);
    if (side == SCORE) range.include(0.0f);
    const double low = range.low, high = range.high;
    return {(low + high) / 2.0, fmax((high - low) / 2.0, 1e-6)};
}

// Nodes for sigma(x y) as a function of x on an interval of this half-width, |y| up to `other`: its nearest pole is
// pi / other away from the real axis, and the error falls with the sum of the half-axes of the ellipse through it,
// whose logarithm is asinh(distance).
DEVICE uint32_t node_count(double half, double other) {
    const float distance = float(PI) / fmaxf(float(other * half), 1e-12f);
    const float n = fmaxf(ceilf(ACCURACY / asinhf(distance)), 4.0f);
    return n <= float(NODES) ? uint32_t(n) : 0;
}

// v[0] becomes the sum over the lanes of v[l] in lane l. Each step halves what a lane holds.
template <unsigned WIDTH> DEVICE void transposed_sum(float (&v)[WARP]) {
    const bool upper = (lane_id() & WIDTH) != 0;
    UNROLL
    for (unsigned j = 0; j < WIDTH; j++) {
        const float give = upper ? v[j] : v[j + WIDTH], keep = upper ? v[j + WIDTH] : v[j];
        v[j] = keep + __shfl_xor_sync(ALL_LANES, give, WIDTH);
    }
    if constexpr (WIDTH > 1) transposed_sum<WIDTH / 2>(v);
}

struct Moments {
    double sums[PARTIAL_WARPS][NODES];
    Scaling scaling;
    uint32_t nodes;
};

}  // namespace all_pairs

KERNEL(all_pairs_moments, AllPairsSums p, ALL_PAIRS_PARTIAL_THREADS) {
    using namespace all_pairs;
    __shared__ Moments shared;
    const uint32_t rows = *p.rows, list = blockIdx.y, side = list / 2, label = list % 2;
    const uint32_t warp = warp_id(), lane = lane_id();
    const float *x = values(p, side, label);
    // On its way from memory while the interval is found.
    uint32_t i = blockIdx.x * PARTIAL_THREADS + threadIdx.x;
    float ahead = i < p.batch ? x[i] : 0.0f;
    if (warp == 0) {
        const Interval own = interval(p, side, label), other = interval(p, 1 - side, label);
        if (lane == 0) {
            const uint32_t nodes = node_count(own.half, other.largest());
            const Scaling scaling = {float(own.centre), 1.0f / float(own.half)};
            shared.scaling = scaling, shared.nodes = nodes;
            if (blockIdx.x == 0) {
                p.intervals[2 * list] = own.centre, p.intervals[2 * list + 1] = own.half;
                p.scaling[2 * list] = scaling.centre, p.scaling[2 * list + 1] = scaling.factor;
                p.nodes[list] = nodes;
            }
        }
    }
    for (uint32_t l = lane; l < NODES; l += WARP) shared.sums[warp][l] = 0.0;
    __syncthreads();
    const uint32_t nodes = shared.nodes;
    const Scaling scaled = shared.scaling;
    while (i - lane < rows) {
        const float weight = i < rows ? ahead : 0.0f, t = i < rows ? scaled(weight) : 0.0f;
        i += p.parts * PARTIAL_THREADS;
        ahead = i < p.batch ? x[i] : 0.0f;
        // T_{l+1} = 2 t T_l - T_{l-1}, begun with T_{-1} = T_1; the recurrence runs on weight x T_l.
        float before = t * weight, now = weight;
        for (uint32_t first = 0; first < nodes; first += WARP) {
            float term[WARP];
            UNROLL
            for (unsigned j = 0; j < WARP; j++) {
                term[j] = now;
                now = fmaf(2.0f * t, now, -before);
                before = term[j];
            }
            transposed_sum<WARP / 2>(term);
            shared.sums[warp][first + lane] += double(term[0]);
        }
    }
    __syncthreads();
    for (uint32_t l = threadIdx.x; l < nodes; l += PARTIAL_THREADS) {
        double sum = 0.0;
        for (uint32_t w = 0; w < PARTIAL_WARPS; w++) sum += shared.sums[w][l];
        p.moments[(list * p.parts + blockIdx.x) * NODES + l] = sum;
    }
}

namespace all_pairs {

// ---- solve

constexpr uint32_t SOLVE_WARPS = ALL_PAIRS_SOLVE_THREADS / WARP;

// Of one label. Pairs are by side.
struct Solve {
    double cosine[2][4 * NODES];    // cos(pi j / 2N), a whole period
    double moment[2][NODES];        // sum_s x_s T_l(x_s)
    double point[2][NODES];         // the nodes
    double weight[2][NODES];        // sum_s x_s f(x_s) = sum_k weight_k f(point_k)
    double value[2][NODES];         // of the gradient at the nodes
    double coefficient[2][NODES];   // of its series
};

// Terms of a sum over l < n in a lane's share, added over the warp.
template <class F> DEVICE double sum_over(uint32_t n, F term) {
    double sum = 0.0;
    for (uint32_t l = lane_id(); l < n; l += WARP) sum += term(l);
    return warp_sum(sum);
}

}  // namespace all_pairs

KERNEL(all_pairs_solve, AllPairsSums p, ALL_PAIRS_SOLVE_THREADS) {
    using namespace all_pairs;
    __shared__ Solve s;
    const uint32_t rows = *p.rows, label = blockIdx.x, warp = warp_id(), lane = lane_id();
    const uint32_t score_nodes = p.nodes[numbered(SCORE, label)], gate_nodes = p.nodes[numbered(GATE, label)];
    const double *of_scores = p.intervals + 2 * numbered(SCORE, label);
    const double *of_gates = p.intervals + 2 * numbered(GATE, label);
    const Interval scores = {of_scores[0], of_scores[1]}, gates = {of_gates[0], of_gates[1]};
    if (rows == 0 || score_nodes == 0 || gate_nodes == 0) return;
    const uint32_t both = score_nodes + gate_nodes;
    const double score_share = 1.0 / score_nodes, gate_share = 1.0 / gate_nodes;
    auto nodes = [&](uint32_t side) { return side == SCORE ? score_nodes : gate_nodes; };
    auto share = [&](uint32_t side) { return side == SCORE ? score_share : gate_share; };
    // Calls f(side, k) for every node of both sides: by each warp in turn, with all its lanes.
    auto each_node = [&](auto f) {
        for (uint32_t k = warp; k < both; k += SOLVE_WARPS) {
            const bool score = k < score_nodes;
            f(score ? SCORE : GATE, score ? k : k - score_nodes);
        }
    };
    // cos(l angle_k), angle_k = (k + 1/2) pi / N.
    auto cosine = [&](uint32_t side, uint32_t l, uint32_t k) {
        return s.cosine[side][l * (2 * k + 1) % (4 * nodes(side))];
    };

    // Where a = 0 lies: arccos in units of pi. The last warp is the least busy.
    constexpr uint32_t LAST = SOLVE_WARPS - 1;
    const double angle = warp == LAST ? acos(fmin(fmax(-scores.centre / scores.half, -1.0), 1.0)) / PI : 0.0;
    // Half of the block waits for memory, the other half computes.
    constexpr uint32_t HALF = ALL_PAIRS_SOLVE_THREADS / 2, UNROLLED = 8;
    static_assert(2 * NODES <= HALF, "one thread a moment");
    if (threadIdx.x >= HALF) {
        for (uint32_t j = threadIdx.x - HALF; j < 4 * both; j += HALF) {
            const uint32_t side = j < 4 * score_nodes ? SCORE : GATE, at = side == SCORE ? j : j - 4 * score_nodes;
            s.cosine[side][at] = cospi(0.5 * at * share(side));
        }
    } else if (threadIdx.x < both) {
        const uint32_t side = threadIdx.x < score_nodes ? SCORE : GATE;
        const uint32_t l = side == SCORE ? threadIdx.x : threadIdx.x - score_nodes;
        const double *partial = p.moments + numbered(side, label) * p.parts * NODES + l;
        double sum = 0.0;
        for (uint32_t part = 0; part < p.parts; part += UNROLLED) {
            UNROLL
            for (uint32_t k = 0; k < UNROLLED; k++) {
                if (part + k < p.parts) sum += partial[(part + k) * NODES];
            }
        }
        s.moment[side][l] = sum;
    }
    __syncthreads();

    each_node([&](uint32_t side, uint32_t k) {
        const double sum = sum_over(nodes(side), [&](uint32_t l) {
            return (l == 0 ? 1.0 : 2.0) * s.moment[side][l] * cosine(side, l, k);
        });
        if (lane == 0) {
            const Interval own = side == SCORE ? scores : gates;
            s.weight[side][k] = sum * share(side);
            s.point[side][k] = own.centre + own.half * cosine(side, 1, k);
        }
    });
    __syncthreads();

    const float z_sign = sign(label);
    const double pair_weight = 1.0 / (double(rows) * double(rows));
    each_node([&](uint32_t side, uint32_t k) {
        const uint32_t other = 1 - side;
        const double x = z_sign * s.point[side][k];
        const double sum = sum_over(nodes(other), [&](uint32_t l) {
            return double(sigmoid(float(x * s.point[other][l]))) * s.weight[other][l];
        });
        if (lane == 0) s.value[side][k] = z_sign * sum * pair_weight;
    });
    __syncthreads();

    each_node([&](uint32_t side, uint32_t l) {
        const double sum = sum_over(nodes(side), [&](uint32_t k) { return s.value[side][k] * cosine(side, l, k); });
        if (lane == 0) {
            const double c = (l == 0 ? 1.0 : 2.0) * sum * share(side);
            s.coefficient[side][l] = c;
            p.series[numbered(side == SCORE ? SCORE_GRADIENT : GATE_GRADIENT, label) * SERIES + l] = float(c);
        }
    });
    __syncthreads();

    // The loss is the integral of the score gradient.
    if (warp != LAST) return;
    float *loss = p.series + numbered(LOSS, label) * SERIES;
    auto gradient = [&](uint32_t l) { return l < score_nodes ? s.coefficient[SCORE][l] : 0.0; };
    const double at_zero = sum_over(score_nodes, [&](uint32_t below) {
        const uint32_t l = below + 1;
        const double c = scores.half * ((l == 1 ? 2.0 : 1.0) * gradient(below) - gradient(l + 1)) / (2.0 * l);
        loss[l] = float(c);
        return c * cospi(l * angle);
    });
    // At a = 0 each of the n gates contributes ln 2 to the loss of a score.
    if (lane == 0) loss[0] = float(LN_2 / rows - at_zero);
}

namespace all_pairs {

// ---- evaluate

struct LossSlope {
    float loss, slope;
};

struct Stable {
    static DEVICE LossSlope term(float z, uint32_t label) {
        const float s = sign(label), t = expf(-fabsf(z)), upper = 1.0f / (1.0f + t);
        return {fmaxf(s * z, 0.0f) + log1pf(t), s * (s * z >= 0.0f ? upper : t * upper)};
    }
};

// The reference code's -log(sigma + e) or -log(1 - sigma + e), rounded in f32 as there.
struct WithEpsilon {
    static DEVICE LossSlope term(float z, uint32_t label) {
        const float s = sigmoid(z), one_minus = 1.0f - s, p = (label == 0 ? s : one_minus) + EPSILON;
        return {-logf(p), sign(label) * (s * one_minus / p)};
    }
};

// Sums over all pairs of the samples first .. first + TILE of a list, by a whole warp.
template <class Term, Side SIDE> DEVICE void term_by_term(const AllPairsSums &p, uint32_t label, uint32_t first) {
    // Terms of a lane that are summed in f32.
    constexpr uint32_t RUN = 16 * WARP;
    const uint32_t rows = *p.rows, lane = lane_id();
    if (first >= rows) return;
    const float *own = values(p, SIDE, label), *other = values(p, 1 - SIDE, label);
    float x[TILE];
    UNROLL
    for (uint32_t k = 0; k < TILE; k++) x[k] = own[min(first + k, rows - 1)];
    double loss[TILE] = {}, slope[TILE] = {};
    for (uint32_t base = 0; base < rows; base += RUN) {
        float run_loss[TILE] = {}, run_slope[TILE] = {};
        const uint32_t end = min(base + RUN, rows);
        for (uint32_t j = base + lane; j < end; j += WARP) {
            const float y = other[j];
            UNROLL
            for (uint32_t k = 0; k < TILE; k++) {
                const LossSlope one = Term::term(x[k] * y, label);
                if (SIDE == SCORE) run_loss[k] += one.loss;
                run_slope[k] = fmaf(one.slope, y, run_slope[k]);
            }
        }
        UNROLL
        for (uint32_t k = 0; k < TILE; k++) {
            if (SIDE == SCORE) loss[k] += double(run_loss[k]);
            slope[k] += double(run_slope[k]);
        }
    }
    const double weight = 1.0 / (double(rows) * double(rows));
    float *gradients = result(p, SIDE == SCORE ? SCORE_GRADIENT : GATE_GRADIENT, label);
    UNROLL
    for (uint32_t k = 0; k < TILE; k++) {
        const double all_slopes = warp_sum(slope[k]), all_losses = SIDE == SCORE ? warp_sum(loss[k]) : 0.0;
        if (lane != k || first + k >= rows) continue;
        gradients[first + k] = float(all_slopes * weight);
        if (SIDE == SCORE) result(p, LOSS, label)[first + k] = float(all_losses * weight);
    }
}

// Clenshaw's recurrence for a Chebyshev series of `length` terms.
DEVICE float clenshaw(const float *c, uint32_t length, float t) {
    float b1 = 0.0f, b2 = 0.0f;
    for (uint32_t k = length - 1; k > 0; k--) {
        const float b = fmaf(2.0f * t, b1, c[k] - b2);
        b2 = b1, b1 = b;
    }
    return fmaf(t, b1, c[0] - b2);
}

}  // namespace all_pairs

KERNEL(all_pairs_evaluate, AllPairsSums p, ALL_PAIRS_EVALUATE_THREADS) {
    using namespace all_pairs;
    constexpr uint32_t THREADS = ALL_PAIRS_EVALUATE_THREADS, ROWS = ALL_PAIRS_EVALUATE_ROWS;
    static_assert(THREADS == 6 * ROWS && ROWS % WARP == 0, "a warp for one series");
    static_assert(SERIES % 4 == 0 && 6 * SERIES <= 4 * THREADS, "copied by four");
    __shared__ __align__(16) float series[6 * SERIES];
    // All loads first, the series at their full length and values beyond the batch's rows too: one wait for memory.
    const uint32_t rows = *p.rows, first = blockIdx.x * ROWS, row = first + threadIdx.x % ROWS;
    const uint32_t number = threadIdx.x / ROWS, output = number / 2, label = number % 2;
    const uint32_t side = output == GATE_GRADIENT ? GATE : SCORE, list = numbered(side, label);
    const uint32_t nodes = p.nodes[list], other_nodes = p.nodes[numbered(1 - side, label)];
    const Scaling scaled = {p.scaling[2 * list], p.scaling[2 * list + 1]};
    const float x = row < p.batch ? values(p, side, label)[row] : 0.0f;
    if (4 * threadIdx.x < 6 * SERIES) store4(series + 4 * threadIdx.x, load4(p.series + 4 * threadIdx.x));
    if (first >= rows) return;
    __syncthreads();

    if (nodes == 0 || other_nodes == 0) {
        const uint32_t begin = first + threadIdx.x % ROWS / WARP * WARP;
        for (uint32_t k = begin; k < begin + WARP; k += TILE) {
            // The score gradient's threads write the loss too.
            if (output == SCORE_GRADIENT) term_by_term<Stable, SCORE>(p, label, k);
            if (output == GATE_GRADIENT) term_by_term<Stable, GATE>(p, label, k);
        }
        return;
    }
    if (row >= rows) return;
    const uint32_t length = output == LOSS ? nodes + 1 : nodes;
    result(p, output, label)[row] = clenshaw(series + number * SERIES, length, scaled(x));
}

KERNEL(all_pairs_eps, AllPairsSums p, ALL_PAIRS_EPS_THREADS) {
    using namespace all_pairs;
    const uint32_t number = blockIdx.x * (ALL_PAIRS_EPS_THREADS / WARP) + warp_id();
    const uint32_t list = number % 4, side = list / 2, label = list % 2, first = number / 4 * TILE;
    if (side == SCORE) term_by_term<WithEpsilon, SCORE>(p, label, first);
    else term_by_term<WithEpsilon, GATE>(p, label, first);
}

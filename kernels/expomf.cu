// expomf: the iterations of ExpoMF, expectation maximisation over all pairs of users and items.
//
//   E-step   A = sigmoid(z),  z = logit(mu_i) + ln c - lambda_y x^2 / 2,  x = theta_u . beta_i;  A = 1 where observed
//   M-step   row = (sum over others of A other other^T + ridge I)^-1 sum over observed of other
//
// for a block of R rows of one side, the others being the whole other side: expomf_expose writes A [R, pitch], expomf_mark
// its ones, expomf_normal the normal matrices [R, columns] as the product of A with all other other^T, and expomf_solve
// the rows. A matrix has the D (D + 1) / 2 products x_j x_(j + o mod D) of a row with itself turned by o, o = 0, 1, ... D / 2
// (of the last o, for even D, half): column o D + j; they are made where they are used. Then expomf_sums and expomf_item
// give sum over users of A and the log likelihood of each item, and its new mu; expomf_posterior adds all up.
//
// expose, sums: tiles of 64 rows by 64 others in shared memory, 16 components at a time; a thread 4 by 4 scores.
// mark: a warp a row. normal: tiles of 128 rows by 64 columns, 16 others at a time, the next on their way meanwhile; a
// thread 8 by 4 sums, of which runs of 128 others are added up. solve: a block a row, its matrix in shared memory.
// item: a block an item. posterior: one block.
//
// 2 D operations a score, D (D + 1) a pair for the matrices; 4 bytes of A written and read again for every 64 columns.
//
// f32, as on the CPU (src/backend/cpu/expomf.rs says with what error); sums of exposures and likelihoods f64.
// Deterministic: every sum has one order; the only atomic is an integer minimum.
#include "common.cuh"

namespace expomf {

constexpr unsigned THREADS = EXPOMF_THREADS, TILE = EXPOMF_TILE, ROWS = EXPOMF_ROWS, DEPTH = EXPOMF_DEPTH;
constexpr unsigned RUN = 128 / DEPTH;
static_assert(THREADS * 16 == TILE * TILE && THREADS * 32 == ROWS * TILE, "elements of a thread");

// The logit of the exposure at score x, and at score 0 without the density's own part.
DEVICE float logit(const ExpomfDensity &d, float x, float base) {
    const float g = d.ln_c - d.half * x * x;
    // ln(c e^-square + epsilon)
    return base + (d.epsilon != 0u ? d.ln_epsilon + softplus(g - d.ln_epsilon) : g);
}

struct alignas(16) Scores {
    float own[DEPTH][TILE + 4];
    float other[DEPTH][TILE + 4];
};

// Scores of 4 rows from `first` + 4 (t / 16) on with 4 others from `at` + 4 (t % 16) on; rows beyond the last are zero.
DEVICE void score(const ExpomfScores &p, uint32_t first, uint32_t at, Scores &shared, float (&x)[4][4]) {
    const uint32_t t = threadIdx.x, row = 4 * (t / 16), column = 4 * (t % 16);
    UNROLL
    for (unsigned r = 0; r < 4; r++) x[r][0] = x[r][1] = x[r][2] = x[r][3] = 0.0f;
    for (uint32_t d = 0; d < p.stride; d += DEPTH) {
        __syncthreads();
        UNROLL
        for (unsigned i = 0; i < TILE * DEPTH / THREADS; i++) {
            const uint32_t k = (t + i * THREADS) % DEPTH, to = (t + i * THREADS) / DEPTH;
            const bool inside = d + k < p.stride;
            const uint64_t own = uint64_t(first) + to, other = uint64_t(at) + to;
            shared.own[k][to] = inside && own < p.rows ? p.own[own * p.stride + d + k] : 0.0f;
            shared.other[k][to] = inside && other < p.others ? p.other[other * p.stride + d + k] : 0.0f;
        }
        __syncthreads();
        UNROLL
        for (unsigned k = 0; k < DEPTH; k++) {
            const float4 a = load4(&shared.own[k][row]), b = load4(&shared.other[k][column]);
            const float own[4] = {a.x, a.y, a.z, a.w};
            UNROLL
            for (unsigned r = 0; r < 4; r++) {
                x[r][0] = fmaf(own[r], b.x, x[r][0]), x[r][1] = fmaf(own[r], b.y, x[r][1]);
                x[r][2] = fmaf(own[r], b.z, x[r][2]), x[r][3] = fmaf(own[r], b.w, x[r][3]);
            }
        }
    }
}

// What row `own` and its other bring to the logit.
DEVICE float base_of(const ExpomfScores &p, uint32_t own, uint32_t other) {
    return (p.own_logit != nullptr ? p.own_logit[own] : 0.0f) + (p.other_logit != nullptr ? p.other_logit[other] : 0.0f);
}

DEVICE void expose(const ExpomfScores &p, Scores &shared) {
    const uint32_t t = threadIdx.x, block_row = blockIdx.y * TILE, at = blockIdx.x * TILE;
    float x[4][4];
    score(p, p.first + block_row, at, shared, x);
    const uint32_t row = block_row + 4 * (t / 16), column = at + 4 * (t % 16);
    UNROLL
    for (unsigned r = 0; r < 4; r++) {
        float a[4];
        UNROLL
        for (unsigned c = 0; c < 4; c++) {
            const bool inside = p.first + row + r < p.rows && column + c < p.others;
            a[c] = inside ? sigmoid(logit(p.density, x[r][c], base_of(p, p.first + row + r, column + c))) : 0.0f;
        }
        store4(p.exposure + (uint64_t(row) + r) * p.pitch + column, make_float4(a[0], a[1], a[2], a[3]));
    }
}

DEVICE void sums(const ExpomfScores &p, Scores &shared) {
    const uint32_t t = threadIdx.x, first = blockIdx.x * TILE, tiles = (p.others + TILE - 1) / TILE;
    const uint32_t begin = uint64_t(tiles) * blockIdx.y / gridDim.y, end = uint64_t(tiles) * (blockIdx.y + 1) / gridDim.y;
    const uint32_t row = first + 4 * (t / 16);
    double exposure[4] = {0.0, 0.0, 0.0, 0.0}, likelihood[4] = {0.0, 0.0, 0.0, 0.0};
    NO_UNROLL
    for (uint32_t tile = begin; tile < end; tile++) {
        float x[4][4];
        score(p, first, tile * TILE, shared, x);
        const uint32_t column = tile * TILE + 4 * (t % 16);
        UNROLL
        for (unsigned r = 0; r < 4; r++) {
            UNROLL
            for (unsigned c = 0; c < 4; c++) {
                if (row + r >= p.rows || column + c >= p.others) continue;
                const float z = logit(p.density, x[r][c], base_of(p, row + r, column + c));
                exposure[r] += sigmoid(z), likelihood[r] += softplus(z);
            }
        }
    }
    UNROLL
    for (unsigned r = 0; r < 4; r++) {
        for (unsigned distance = 8; distance > 0; distance /= 2) {
            exposure[r] += __shfl_xor_sync(ALL_LANES, exposure[r], distance);
            likelihood[r] += __shfl_xor_sync(ALL_LANES, likelihood[r], distance);
        }
        if (t % 16 == 0 && row + r < p.rows) {
            double *to = p.sums + 2 * (uint64_t(blockIdx.y) * p.rows + row + r);
            to[0] = exposure[r], to[1] = likelihood[r];
        }
    }
}

DEVICE void mark(const ExpomfMark &p) {
    const uint32_t row = blockIdx.x * (THREADS / WARP) + warp_id();
    if (row >= p.count) return;
    const uint64_t begin = p.offsets[p.first + row], end = p.offsets[p.first + row + 1];
    for (uint64_t k = begin + lane_id(); k < end; k += WARP) {
        p.exposure[uint64_t(row) * p.pitch + p.positives[k]] = 1.0f;
    }
}

struct alignas(16) Normals {
    float a[DEPTH][ROWS + 4];
    float v[DEPTH][TILE];
};

DEVICE void normal(const ExpomfNormal &p, Normals &shared) {
    constexpr unsigned A_LOADS = ROWS * DEPTH / 4 / THREADS, V_LOADS = DEPTH * TILE / THREADS;
    const uint32_t t = threadIdx.x, first_row = blockIdx.y * ROWS, first_column = blockIdx.x * TILE;
    // The two elements whose product is this thread's column of the panel.
    const uint32_t c = min(first_column + t % TILE, p.dim * (p.dim + 1) / 2 - 1);
    const uint32_t left = c % p.dim, right = (left + c / p.dim) % p.dim;
    float4 a_next[A_LOADS];
    float v_next[V_LOADS];
    const auto fetch = [&](uint32_t step) {
        UNROLL
        for (unsigned i = 0; i < A_LOADS; i++) {
            const uint32_t k = 4 * ((t + i * THREADS) % (DEPTH / 4)), row = (t + i * THREADS) / (DEPTH / 4);
            a_next[i] = load4(p.exposure + (uint64_t(first_row) + row) * p.pitch + step * DEPTH + k);
        }
        UNROLL
        for (unsigned i = 0; i < V_LOADS; i++) {
            const uint32_t other = step * DEPTH + (t + i * THREADS) / TILE;
            const float *x = p.other + uint64_t(other) * p.stride;
            v_next[i] = other < p.others ? x[left] * x[right] : 0.0f;
        }
    };
    const uint32_t row = 8 * (t / 16), column = 4 * (t % 16);
    float sum[8][4], total[8][4];
    UNROLL
    for (unsigned r = 0; r < 8; r++) {
        UNROLL
        for (unsigned j = 0; j < 4; j++) sum[r][j] = total[r][j] = 0.0f;
    }
    const uint32_t steps = (p.others + DEPTH - 1) / DEPTH;
    fetch(0);
    for (uint32_t step = 0; step < steps; step++) {
        UNROLL
        for (unsigned i = 0; i < A_LOADS; i++) {
            const uint32_t k = 4 * ((t + i * THREADS) % (DEPTH / 4)), to = (t + i * THREADS) / (DEPTH / 4);
            shared.a[k][to] = a_next[i].x, shared.a[k + 1][to] = a_next[i].y;
            shared.a[k + 2][to] = a_next[i].z, shared.a[k + 3][to] = a_next[i].w;
        }
        UNROLL
        for (unsigned i = 0; i < V_LOADS; i++) shared.v[(t + i * THREADS) / TILE][t % TILE] = v_next[i];
        __syncthreads();
        if (step + 1 < steps) fetch(step + 1);
        UNROLL
        for (unsigned k = 0; k < DEPTH; k++) {
            const float4 v = load4(&shared.v[k][column]);
            const float4 low = load4(&shared.a[k][row]), high = load4(&shared.a[k][row + 4]);
            const float a[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            UNROLL
            for (unsigned r = 0; r < 8; r++) {
                sum[r][0] = fmaf(a[r], v.x, sum[r][0]), sum[r][1] = fmaf(a[r], v.y, sum[r][1]);
                sum[r][2] = fmaf(a[r], v.z, sum[r][2]), sum[r][3] = fmaf(a[r], v.w, sum[r][3]);
            }
        }
        if (step % RUN == RUN - 1 || step + 1 == steps) {
            UNROLL
            for (unsigned r = 0; r < 8; r++) {
                UNROLL
                for (unsigned j = 0; j < 4; j++) total[r][j] += sum[r][j], sum[r][j] = 0.0f;
            }
        }
        __syncthreads();
    }
    UNROLL
    for (unsigned r = 0; r < 8; r++) {
        float *to = p.matrices + (uint64_t(first_row) + row + r) * p.columns + first_column + column;
        store4(to, make_float4(total[r][0], total[r][1], total[r][2], total[r][3]));
    }
}

// The column of element (i, j), j <= i.
DEVICE uint32_t column_of(uint32_t dim, uint32_t i, uint32_t j) {
    const uint32_t turn = i - j;
    return turn <= dim / 2 ? turn * dim + j : (dim - turn) * dim + i;
}

DEVICE uint32_t triangle(uint32_t i) { return i * (i + 1) / 2; }

// Cholesky of the matrix with the right-hand side as one row more, which so becomes the solution of the factor; then of the
// factor's transpose. Pivots are kept inverse.
DEVICE void solve(const ExpomfSolve &p, float *lower, float *diagonal) {
    constexpr unsigned WARPS = EXPOMF_SOLVE_THREADS / WARP;
    const uint32_t t = threadIdx.x, dim = p.dim, row = p.first + blockIdx.x;
    const float *matrix = p.matrices + uint64_t(blockIdx.x) * p.columns;
    float *right = lower + triangle(dim), ridge = p.ridge;
    float *own = p.table + uint64_t(row) * p.stride;
    for (uint32_t j = t; j < dim; j += EXPOMF_SOLVE_THREADS) {
        const uint32_t *positives = p.positives + p.offsets[row];
        const uint32_t count = uint32_t(p.offsets[row + 1] - p.offsets[row]);
        double sum = 0.0;
        UNROLL_4
        for (uint32_t k = 0; k < count; k++) sum += p.other[uint64_t(positives[k]) * p.stride + j];
        // Kept for the next try.
        own[j] = float(sum);
    }
    for (uint32_t tries = 0;; tries++) {
        __syncthreads();
        for (uint32_t i = warp_id(); i < dim; i += WARPS) {
            for (uint32_t j = lane_id(); j <= i; j += WARP) {
                const float x = matrix[column_of(dim, i, j)] + (i == j ? ridge : 0.0f);
                lower[triangle(i) + j] = x;
                if (i == j) diagonal[i] = x;
            }
        }
        for (uint32_t j = t; j < dim; j += EXPOMF_SOLVE_THREADS) right[j] = own[j];
        bool good = true;
        for (uint32_t k = 0; k < dim; k++) {
            __syncthreads();
            const float pivot = lower[triangle(k) + k];
            // As on the CPU: what is less is rounding.
            good = pivot > 4.0f * 1.1920929e-7f * diagonal[k] && pivot < INFINITY;
            if (!good) break;
            const float inverse = 1.0f / sqrtf(pivot);
            __syncthreads();
            for (uint32_t i = k + t; i <= dim; i += EXPOMF_SOLVE_THREADS) {
                float *x = lower + triangle(i) + k;
                *x = i == k ? inverse : *x * inverse;
            }
            __syncthreads();
            for (uint32_t i = k + 1 + warp_id(); i <= dim; i += WARPS) {
                const float x = lower[triangle(i) + k];
                for (uint32_t j = k + 1 + lane_id(); j <= i && j < dim; j += WARP) {
                    float *to = lower + triangle(i) + j;
                    *to = fmaf(-x, lower[triangle(j) + k], *to);
                }
            }
        }
        if (good) break;
        if (tries + 1 == EXPOMF_TRIES) {
            if (t == 0) atomicMin(p.failed, row);
            break;
        }
        ridge = fmaxf(10.0f * ridge, 1e-5f);
    }
    for (uint32_t k = dim; k-- > 0;) {
        __syncthreads();
        const float x = right[k] * lower[triangle(k) + k];
        __syncthreads();
        for (uint32_t i = t; i <= k; i += EXPOMF_SOLVE_THREADS) {
            right[i] = i == k ? x : fmaf(-x, lower[triangle(k) + i], right[i]);
        }
    }
    __syncthreads();
    for (uint32_t j = t; j < dim; j += EXPOMF_SOLVE_THREADS) own[j] = right[j];
}

// The lanes of sums took every pair for an unobserved one, which the observed ones make good here.
DEVICE void item(const ExpomfItem &p, double *partial) {
    constexpr unsigned WARPS = EXPOMF_ITEM_THREADS / WARP;
    const uint32_t i = blockIdx.x;
    const float mu = p.mu[i], base = p.logit[i];
    const double log_odds = log(double(mu)) - log1p(-double(mu));
    double exposure = 0.0, likelihood = 0.0;
    for (uint64_t k = p.offsets[i] + warp_id(); k < p.offsets[i + 1]; k += WARPS) {
        const float *theta = p.theta + uint64_t(p.users_of[k]) * p.stride, *beta = p.beta + uint64_t(i) * p.stride;
        float x = 0.0f;
        for (uint32_t d = lane_id(); d < p.stride; d += WARP) x = fmaf(theta[d], beta[d], x);
        x = warp_sum(x);
        const float z = logit(p.density, x, base);
        const double miss = 1.0 - double(x);
        exposure += 1.0 - double(sigmoid(z));
        likelihood += log_odds + p.ln_c - double(p.density.half) * miss * miss - double(softplus(z));
    }
    if (lane_id() == 0) partial[warp_id()] = exposure, partial[WARPS + warp_id()] = likelihood;
    __syncthreads();
    if (threadIdx.x != 0) return;
    exposure = likelihood = 0.0;
    for (uint32_t warp = 0; warp < WARPS; warp++) exposure += partial[warp], likelihood += partial[WARPS + warp];
    for (uint32_t span = 0; span < p.spans; span++) {
        const double *from = p.sums + 2 * (uint64_t(span) * p.items + i);
        exposure += from[0], likelihood += from[1];
    }
    likelihood += (double(p.users) + p.b0 - 1.0) * log1p(-double(mu)) + (p.a0 - 1.0) * log(double(mu));
    p.posterior[i] = likelihood;
    const double updated = (p.a0 - 1.0 + exposure) / (p.a0 + p.b0 - 2.0 + p.users);
    const float now = float(fmin(fmax(updated, 1.1754943508222875e-38), 1.0 - 1.0 / (1 << 24)));
    p.mu[i] = now;
    p.logit[i] = float(log(double(now)) - log1p(-double(now)));
}

DEVICE void posterior(const ExpomfPosterior &p, double *partial) {
    double sum = 0.0;
    for (uint32_t i = threadIdx.x; i < p.items; i += EXPOMF_POSTERIOR_THREADS) sum += p.posterior[i];
    for (uint64_t i = threadIdx.x; i < uint64_t(p.users) * p.stride; i += EXPOMF_POSTERIOR_THREADS) {
        sum -= 0.5 * p.lambda_theta * double(p.theta[i]) * double(p.theta[i]);
    }
    for (uint64_t i = threadIdx.x; i < uint64_t(p.items) * p.stride; i += EXPOMF_POSTERIOR_THREADS) {
        sum -= 0.5 * p.lambda_beta * double(p.beta[i]) * double(p.beta[i]);
    }
    sum = block_sum<EXPOMF_POSTERIOR_THREADS / WARP>(sum, partial);
    if (threadIdx.x == 0) p.out[0] = sum, p.out[1] = p.failed[0], p.out[2] = p.failed[1];
}

}  // namespace expomf

KERNEL(expomf_expose, ExpomfScores p, EXPOMF_THREADS) {
    __shared__ expomf::Scores shared;
    expomf::expose(p, shared);
}

KERNEL(expomf_sums, ExpomfScores p, EXPOMF_THREADS) {
    __shared__ expomf::Scores shared;
    expomf::sums(p, shared);
}

KERNEL(expomf_mark, ExpomfMark p, EXPOMF_THREADS) { expomf::mark(p); }

KERNEL(expomf_normal, ExpomfNormal p, EXPOMF_THREADS) {
    __shared__ expomf::Normals shared;
    expomf::normal(p, shared);
}

KERNEL(expomf_solve, ExpomfSolve p, EXPOMF_SOLVE_THREADS) {
    DYNAMIC_SHARED(float, lower);
    expomf::solve(p, lower, lower + expomf::triangle(p.dim + 1));
}

KERNEL(expomf_item, ExpomfItem p, EXPOMF_ITEM_THREADS) {
    __shared__ double partial[2 * EXPOMF_ITEM_THREADS / WARP];
    expomf::item(p, partial);
}

KERNEL(expomf_posterior, ExpomfPosterior p, EXPOMF_POSTERIOR_THREADS) {
    __shared__ double partial[EXPOMF_POSTERIOR_THREADS / WARP];
    expomf::posterior(p, partial);
}

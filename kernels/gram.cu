// gram: the item-item product that takes the place of two halves of a layer, for small catalogues.
//
//   y[i] = base[i] + sum over j of G[i, j] x[j],  G[i, j] = s[i] sum over users u of both i and j of s[u]^2
//
// with x scaled, and from y (propagation.cuh) the final rows of the batch's items, or Adam on all items. In the backward
// pass x[j] = x_scale[j] gradient[x_slot[j]], zero for an item that is not in the batch.
//
// A block computes a tile of R rows and N columns, R N = 4096, from G and x in shared memory, DEPTH columns of G at a
// time, the next of which are on their way meanwhile; a thread sums 8 rows by 4 columns in registers, in f32. The sum
// over j is split among the blocks of the grid's third dimension; the one that arrives last at a tile, by a count in
// device memory, adds the splits' parts in their order and finishes the tile.
//
// 2 I W operations a row. Reads 4 I bytes of G a row for every N columns, and x from the second-level cache.
//
// Deterministic: every sum has one order, whoever finishes the tile. No floating-point atomics; nobody waits.
#include "propagation.cuh"

namespace gram {

constexpr unsigned DEPTH = GRAM_DEPTH, THREADS = GRAM_THREADS;

template <unsigned N> struct Shared {
    static constexpr unsigned ROWS = GRAM_TILE / N;
    // Transposed; padded so that rows of a column lie in other banks.
    float g[DEPTH][ROWS + 4];
    float x[DEPTH][N];
    bool last;
};

template <class T, unsigned N> DEVICE void run(const Gram &p, Shared<N> &shared) {
    constexpr unsigned ROWS = GRAM_TILE / N, FOURS = DEPTH / 4;
    constexpr unsigned G_LOADS = ROWS * FOURS / THREADS, X_LOADS = (DEPTH * N / 4 + THREADS - 1) / THREADS;
    static_assert(THREADS * 32 == GRAM_TILE, "8 x 4 elements a thread");
    const uint32_t rows = p.ids != nullptr ? *p.count : p.items, first_row = blockIdx.x * ROWS;
    const uint32_t first_column = blockIdx.y * N, t = threadIdx.x;
    if (first_row >= rows) return;
    const uint32_t steps = (p.items + DEPTH - 1) / DEPTH;
    const uint32_t begin = uint64_t(steps) * blockIdx.z / gridDim.z;
    const uint32_t end = uint64_t(steps) * (blockIdx.z + 1) / gridDim.z;
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);

    // Which of G's rows this thread copies; rows beyond the last are not.
    const float *g_row[G_LOADS];
    UNROLL
    for (unsigned i = 0; i < G_LOADS; i++) {
        const uint32_t row = first_row + (t + i * THREADS) / FOURS;
        const uint64_t id = row >= rows ? 0 : p.ids != nullptr ? p.ids[row] : row;
        g_row[i] = row < rows ? p.g + id * p.pitch : nullptr;
    }
    float4 g_next[G_LOADS], x_next[X_LOADS];
    const auto fetch = [&](uint32_t step) {
        UNROLL
        for (unsigned i = 0; i < G_LOADS; i++) {
            const uint32_t j = step * DEPTH + 4 * ((t + i * THREADS) % FOURS);
            g_next[i] = g_row[i] != nullptr && j < p.pitch ? load4(g_row[i] + j) : zero;
        }
        UNROLL
        for (unsigned i = 0; i < X_LOADS; i++) {
            const uint32_t k = t + i * THREADS, j = step * DEPTH + k / (N / 4);
            const uint32_t column = first_column + 4 * (k % (N / 4));
            const bool inside = k < DEPTH * N / 4 && j < p.items && column < p.stride;
            const uint32_t slot = !inside ? NO_SLOT : p.x_slot != nullptr ? p.x_slot[j] : j;
            const uint64_t at = uint64_t(slot) * p.stride + column;
            x_next[i] = zero;
            if (slot == NO_SLOT) continue;
            if (p.x_slot == nullptr) {
                x_next[i] = load4(static_cast<const T *>(p.x) + at);
            } else {
                const float4 x = load4(static_cast<const float *>(p.x) + at);
                const float s = p.finish.scale[j];
                x_next[i] = make_float4(s * x.x, s * x.y, s * x.z, s * x.w);
            }
        }
    };

    const uint32_t column = 4 * (t % (N / 4)), row = 8 * (t / (N / 4));
    float sum[8][4];
    UNROLL
    for (unsigned r = 0; r < 8; r++) sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = 0.0f;
    if (begin < end) fetch(begin);
    for (uint32_t step = begin; step < end; step++) {
        UNROLL
        for (unsigned i = 0; i < G_LOADS; i++) {
            const uint32_t to = (t + i * THREADS) / FOURS, j = 4 * ((t + i * THREADS) % FOURS);
            shared.g[j][to] = g_next[i].x, shared.g[j + 1][to] = g_next[i].y;
            shared.g[j + 2][to] = g_next[i].z, shared.g[j + 3][to] = g_next[i].w;
        }
        UNROLL
        for (unsigned i = 0; i < X_LOADS; i++) {
            const uint32_t k = t + i * THREADS;
            if (k < DEPTH * N / 4) store4(&shared.x[k / (N / 4)][4 * (k % (N / 4))], x_next[i]);
        }
        __syncthreads();
        if (step + 1 < end) fetch(step + 1);
        UNROLL
        for (unsigned j = 0; j < DEPTH; j++) {
            const float4 x = load4(&shared.x[j][column]);
            const float4 low = load4(&shared.g[j][row]), high = load4(&shared.g[j][row + 4]);
            const float g[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            UNROLL
            for (unsigned r = 0; r < 8; r++) {
                sum[r][0] = fmaf(g[r], x.x, sum[r][0]);
                sum[r][1] = fmaf(g[r], x.y, sum[r][1]);
                sum[r][2] = fmaf(g[r], x.z, sum[r][2]);
                sum[r][3] = fmaf(g[r], x.w, sum[r][3]);
            }
        }
        __syncthreads();
    }

    const bool inside = first_column + column < p.stride;
    const uint64_t at = (uint64_t(first_row) + row) * p.stride + first_column + column;
    if (gridDim.z > 1) {
        const uint64_t split = uint64_t(p.most_rows) * p.stride;
        UNROLL
        for (unsigned r = 0; r < 8; r++) {
            const float4 four = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
            if (inside && first_row + row + r < rows) store4(p.partial + blockIdx.z * split + at + r * p.stride, four);
        }
        __threadfence();
        __syncthreads();
        uint32_t *arrived = p.arrived + blockIdx.y * gridDim.x + blockIdx.x;
        if (t == 0) {
            shared.last = atomicAdd(arrived, 1) == gridDim.z - 1;
            if (shared.last) *arrived = 0;
        }
        __syncthreads();
        if (!shared.last) return;
        __threadfence();
        UNROLL
        for (unsigned r = 0; r < 8; r++) {
            sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = 0.0f;
            if (!inside || first_row + row + r >= rows) continue;
            UNROLL_4
            for (uint32_t z = 0; z < gridDim.z; z++) {
                const float *from = p.partial + z * split + at + r * p.stride;
                const float4 four = __ldcg(reinterpret_cast<const float4 *>(from));
                sum[r][0] += four.x, sum[r][1] += four.y, sum[r][2] += four.z, sum[r][3] += four.w;
            }
        }
    }
    UNROLL
    for (unsigned r = 0; r < 8; r++) {
        const uint32_t at_row = first_row + row + r;
        if (!inside || at_row >= rows) continue;
        const uint32_t id = p.ids != nullptr ? p.ids[at_row] : at_row;
        const uint32_t slot = p.ids != nullptr ? at_row : propagation::slot_of(p.finish, id);
        const float4 four = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        const propagation::Place place(p.finish, id, slot);
        propagation::finish<T, T>(p.finish, place, first_column + column, p.stride, 1.0f, four);
    }
}

}  // namespace gram

#define GRAM(NAME, T, N)                               \
    KERNEL(gram_##NAME##N, Gram p, GRAM_THREADS) {     \
        __shared__ gram::Shared<N> shared;             \
        gram::run<T, N>(p, shared);                    \
    }
#define GRAM_OF(NAME, T) GRAM(NAME, T, 16) GRAM(NAME, T, 32) GRAM(NAME, T, 64)
GRAM_OF(, float)
GRAM_OF(f16_, F16)
GRAM_OF(bf16_, Bf16)
#undef GRAM_OF
#undef GRAM

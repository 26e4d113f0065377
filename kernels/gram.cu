// gram: the item-item product that takes the place of two halves of a layer, for small catalogues.
//
//   y[i] = base[i] + sum over j of G[i, j] x[j],  G[i, j] = s[i] sum over users u of both i and j of s[u]^2
//
// with x scaled, and from y (propagation.cuh) the final rows of the batch's items, or Adam on all items. In the backward
// pass x[j] = x_scale[j] gradient[x_slot[j]], zero for an item that is not in the batch.
//
// A block of four warps computes a tile of 128 rows and N columns on the tensor cores, 16 columns of G at a time, the next
// two lots of which are on their way to shared memory meanwhile; a warp 64 or 32 rows by 32 columns. The sum over j is
// split among the blocks of the grid's third dimension; the one that arrives last at a tile, by a count in device memory,
// adds the splits' parts in their order and finishes the tile.
//
// Tensor cores multiply numbers of TF32, which have 11 significant bits. A factor a is split in a', the nearest of these,
// and a'' = a - a', no larger than 2^-11 |a|, of which they read 11 bits: a = a' + a'' within 2^-21 |a|. And a b is
// a'' b' + a' b'' + a' b' within 2^-22 |a b|: all in all 5 2^-22 |a b|. Where x has 16 bits, which TF32 holds, there is no
// b'', and there are two products. An mma may round its sums towards zero, which would add up over a catalogue: a slice of
// 16 columns is summed from zero, the small products first, and added to the sum of the slices before in f32.
//
// 6 I W operations of the tensor cores a row (4 I W if x has 16 bits). Reads 4 I bytes of G a row for every N columns,
// and 4 I W bytes (2 I W) of x for 128 rows, from the second-level cache: of G once where W <= 64, which is the floor. Of
// shared memory a warp reads 6144 bytes for 96 mma of 1024 multiply-adds, 64 bytes each (with N = 32: 4096 for 48), and
// for these it splits 48 numbers a lane, in three instructions each, and does 64 additions.
//
// Deterministic: every sum has one order, whoever finishes the tile. No floating-point atomics; nobody waits.
//
// gram_product  G itself, once a training. A block makes 2048 columns of a row: its threads go through the row's users in
//               their order, together through the items of each, which are distinct, and add s[u]^2 to the items' sums, f64
//               in shared memory: the sums of src/backend/cpu/gram.rs to the bit. Reads the users of an item and the
//               items of these, 2 or 4 bytes each, from the second-level cache for every 2048 columns; writes 4 I bytes a
//               row.
#include "propagation.cuh"

namespace gram {

constexpr unsigned ROWS = GRAM_ROWS, THREADS = GRAM_THREADS, WARPS = THREADS / WARP;
constexpr unsigned DEPTH = GRAM_DEPTH, STAGES = 3;
// Columns of a warp, and their products' tiles of 8: a lane has column l / 4 of each, which are next to each other.
constexpr unsigned COLUMNS = 32, TILES = COLUMNS / 8;
static_assert(TILES == 4, "a lane's columns of a row are one load");

// Columns of G and rows of x. The tensor cores' columns of A are any, as long as the rows of B are the same: lane l has
// 4 (l % 4) + 0, 1 of the slice in the first half and + 2, 3 in the second. So it loads 16 bytes of a row of G, eight
// lanes 128 bytes without a gap; and of four rows of x, which eight (of x in 16 bits sixteen) lanes find in other banks
// since 32 bytes follow every four rows.
template <class X, unsigned N> struct alignas(16) Slice {
    float g[ROWS][DEPTH];
    X x[DEPTH / 4][4 * N + 32 / sizeof(X)];
    float scale[DEPTH];  // of x, where it is sparse

    DEVICE X *row(unsigned j) { return &x[j / 4][j % 4 * N]; }
};

template <class T, unsigned N> struct Shared {
    union {
        Slice<T, N> dense[STAGES];
        Slice<float, N> sparse[STAGES];
        float sum[ROWS][N + 4];  // padded so that the lanes of a quarter of a warp store to other banks
    };
    bool last;
};

// The large and the small part of a number; the tensor cores read the leading 11 bits of the small one. What is not finite
// has a part that is not.
DEVICE void split(float x, float &large, float &small) {
    large = nearest_tf32(x);
    small = x - large;
}

// What a warp sums: rows 16 m + l / 4 and 8 more, columns 8 (l % 4) + q and 4 more, of tile q of the tensor cores.
template <unsigned N> struct Sums {
    static constexpr unsigned ACROSS = N / COLUMNS, HEIGHT = ROWS * ACROSS / WARPS, M = HEIGHT / 16;
    float sum[M][TILES][4];

    DEVICE unsigned first_row() const { return warp_id() / ACROSS * HEIGHT; }
    DEVICE unsigned first_column() const { return warp_id() % ACROSS * COLUMNS; }

    template <class X, bool SPARSE> DEVICE void add(Slice<X, N> &slice) {
        constexpr bool EXACT = sizeof(X) == 2;
        const unsigned group = lane_id() / 4, member = lane_id() % 4;
        float large[4][TILES], small[4][TILES];  // of x
        UNROLL
        for (unsigned j = 0; j < 4; j++) {
            const float4 x = load4(slice.row(4 * member + j) + first_column() + TILES * group);
            const float s = SPARSE ? slice.scale[4 * member + j] : 1.0f;
            const float numbers[TILES] = {x.x, x.y, x.z, x.w};
            UNROLL
            for (unsigned q = 0; q < TILES; q++) {
                if constexpr (EXACT) large[j][q] = numbers[q];
                else split(SPARSE ? s * numbers[q] : numbers[q], large[j][q], small[j][q]);
            }
        }
        UNROLL
        for (unsigned m = 0; m < M; m++) {
            const float4 upper = load4(slice.g[first_row() + 16 * m + group] + 4 * member);
            const float4 lower = load4(slice.g[first_row() + 16 * m + group + 8] + 4 * member);
            const float g[2][4] = {{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}};
            float g_large[2][4], g_small[2][4], part[TILES][4];
            UNROLL
            for (unsigned k = 0; k < 4; k++) {
                split(g[0][k], g_large[0][k], g_small[0][k]);
                split(g[1][k], g_large[1][k], g_small[1][k]);
            }
            UNROLL
            for (unsigned q = 0; q < TILES; q++) part[q][0] = part[q][1] = part[q][2] = part[q][3] = 0.0f;
            UNROLL
            for (unsigned half = 0; half < 2; half++) {
                const unsigned j = 2 * half;
                UNROLL
                for (unsigned q = 0; q < TILES; q++) {
                    multiply_add(part[q], g_small[half], large[j][q], large[j + 1][q]);
                }
                if constexpr (!EXACT) {
                    UNROLL
                    for (unsigned q = 0; q < TILES; q++) {
                        multiply_add(part[q], g_large[half], small[j][q], small[j + 1][q]);
                    }
                }
            }
            UNROLL
            for (unsigned half = 0; half < 2; half++) {
                const unsigned j = 2 * half;
                UNROLL
                for (unsigned q = 0; q < TILES; q++) {
                    multiply_add(part[q], g_large[half], large[j][q], large[j + 1][q]);
                }
            }
            UNROLL
            for (unsigned q = 0; q < TILES; q++) {
                UNROLL
                for (unsigned k = 0; k < 4; k++) sum[m][q][k] += part[q][k];
            }
        }
    }

    DEVICE void store(float (&to)[ROWS][N + 4]) const {
        UNROLL
        for (unsigned m = 0; m < M; m++) {
            UNROLL
            for (unsigned k = 0; k < 4; k++) {
                const unsigned row = first_row() + 16 * m + lane_id() / 4 + k / 2 * 8;
                const unsigned column = first_column() + 8 * (lane_id() % 4) + k % 2 * 4;
                store4(&to[row][column], make_float4(sum[m][0][k], sum[m][1][k], sum[m][2][k], sum[m][3][k]));
            }
        }
    }
};

// Sums over the block's part of the items. Rows, columns and items beyond the last are copies of it: the former are not
// stored, and where there is no item, G is zero.
template <class X, bool SPARSE, unsigned N>
DEVICE void multiply(const Gram &p, uint32_t rows, Slice<X, N> (&slices)[STAGES], Sums<N> &sums) {
    constexpr unsigned G_LOADS = ROWS * DEPTH / 4 / THREADS, X_LOADS = DEPTH * N / 4 / THREADS;
    static_assert(G_LOADS * THREADS * 4 == ROWS * DEPTH && X_LOADS * THREADS * 4 == DEPTH * N, "whole rounds of loads");
    const uint32_t first_row = blockIdx.x * ROWS, t = threadIdx.x;
    const uint32_t steps = p.pitch / DEPTH;
    const uint32_t begin = uint64_t(steps) * blockIdx.z / gridDim.z;
    const uint32_t end = uint64_t(steps) * (blockIdx.z + 1) / gridDim.z;

    // The next four columns of G's rows that this thread copies.
    const uint32_t g_row = t / (DEPTH / 4), g_column = t % (DEPTH / 4) * 4;
    const float *g[G_LOADS];
    UNROLL
    for (unsigned i = 0; i < G_LOADS; i++) {
        const uint32_t row = min(first_row + g_row + i * (THREADS / (DEPTH / 4)), rows - 1);
        g[i] = p.g + uint64_t(p.ids != nullptr ? p.ids[row] : row) * p.pitch + begin * DEPTH + g_column;
    }
    // And its rows of x.
    const uint32_t x_row = t / (N / 4), x_column = t % (N / 4) * 4;
    const X *x = static_cast<const X *>(p.x) + min(blockIdx.y * N + x_column, p.stride - 4);
    uint32_t x_from[X_LOADS];
    const auto look_up = [&](uint32_t step) {
        UNROLL
        for (unsigned i = 0; i < X_LOADS; i++) {
            const uint32_t j = min(step * DEPTH + x_row + i * (THREADS / (N / 4)), p.items - 1);
            x_from[i] = SPARSE ? p.x_slot[j] : j;
        }
    };
    const auto stage = [&](uint32_t step, Slice<X, N> &to) {
        if (step < end) {
            UNROLL
            for (unsigned i = 0; i < G_LOADS; i++) {
                async_copy16(&to.g[g_row + i * (THREADS / (DEPTH / 4))][g_column], g[i]);
                g[i] += DEPTH;
            }
            UNROLL
            for (unsigned i = 0; i < X_LOADS; i++) {
                const bool there = !SPARSE || x_from[i] != NO_SLOT;
                const X *from = there ? x + uint64_t(x_from[i]) * p.stride : x;
                async_copy_or_zero<4 * sizeof(X)>(to.row(x_row + i * (THREADS / (N / 4))) + x_column, from, there);
            }
            if (SPARSE && t < DEPTH) {
                async_copy_or_zero<4>(&to.scale[t], p.finish.scale + min(step * DEPTH + t, p.items - 1), true);
            }
            look_up(step + 1);
        }
        async_commit();
    };

    look_up(begin);
    UNROLL
    for (unsigned i = 0; i + 1 < STAGES; i++) stage(begin + i, slices[i]);
    uint32_t now = 0, free = STAGES - 1;
    NO_UNROLL
    for (uint32_t step = begin; step < end; step++) {
        async_wait<STAGES - 2>();
        // Nor does anyone still read the slice before, whose place the next one takes.
        __syncthreads();
        stage(step + STAGES - 1, slices[free]);
        // A warp whose rows are beyond the last has nothing to sum.
        if (first_row + sums.first_row() < rows) sums.template add<X, SPARSE>(slices[now]);
        free = now;
        now = now + 1 == STAGES ? 0 : now + 1;
    }
    async_wait<0>();
    __syncthreads();
}

template <class T, unsigned N> DEVICE void run(const Gram &p, Shared<T, N> &shared) {
    const uint32_t rows = p.ids != nullptr ? *p.count : p.items, first_row = blockIdx.x * ROWS, t = threadIdx.x;
    if (first_row >= rows) return;
    {
        Sums<N> sums;
        UNROLL
        for (unsigned m = 0; m < Sums<N>::M; m++) {
            UNROLL
            for (unsigned q = 0; q < TILES; q++) {
                sums.sum[m][q][0] = sums.sum[m][q][1] = sums.sum[m][q][2] = sums.sum[m][q][3] = 0.0f;
            }
        }
        if (p.x_slot != nullptr) multiply<float, true>(p, rows, shared.sparse, sums);
        else multiply<T, false>(p, rows, shared.dense, sums);
        sums.store(shared.sum);
    }
    __syncthreads();

    // From here on a thread has four columns of some rows.
    const uint32_t own = 4 * (t % (N / 4)), column = blockIdx.y * N + own;
    const uint32_t below = min(rows - first_row, ROWS);
    const bool inside = column < p.stride;
    const uint64_t split = uint64_t(p.most_rows) * p.stride;
    if (gridDim.z > 1) {
        for (uint32_t row = t / (N / 4); inside && row < below; row += THREADS / (N / 4)) {
            const uint64_t at = (uint64_t(first_row) + row) * p.stride + column;
            store4(p.partial + blockIdx.z * split + at, load4(&shared.sum[row][own]));
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
    }
    if (!inside) return;
    for (uint32_t row = t / (N / 4); row < below; row += THREADS / (N / 4)) {
        const uint32_t at_row = first_row + row;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (gridDim.z == 1) {
            sum = load4(&shared.sum[row][own]);
        } else {
            const float *parts = p.partial + uint64_t(at_row) * p.stride + column;
            UNROLL_4
            for (uint32_t z = 0; z < gridDim.z; z++) {
                const float4 part = __ldcg(reinterpret_cast<const float4 *>(parts + z * split));
                sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
            }
        }
        const uint32_t id = p.ids != nullptr ? p.ids[at_row] : at_row;
        const uint32_t slot = p.ids != nullptr ? at_row : propagation::slot_of(p.finish, id);
        propagation::finish<T, T>(p.finish, propagation::Place(p.finish, id, slot), column, p.stride, 1.0f, sum);
    }
}

// ---- the matrix

struct Product {
    double sum[GRAM_PRODUCT_COLUMNS];
    // Of some of the row's users: their items, and s^2.
    uint64_t begin[GRAM_PRODUCT_THREADS];
    uint64_t end[GRAM_PRODUCT_THREADS];
    double weight[GRAM_PRODUCT_THREADS];
};

DEVICE uint32_t partner(const GramSide &side, uint64_t edge) {
    return side.narrow ? static_cast<const uint16_t *>(side.partners)[edge]
                       : static_cast<const uint32_t *>(side.partners)[edge];
}

DEVICE void product(const GramProduct &p, Product &shared) {
    constexpr unsigned COLUMNS = GRAM_PRODUCT_COLUMNS, THREADS = GRAM_PRODUCT_THREADS;
    const uint32_t item = blockIdx.x, first_column = blockIdx.y * COLUMNS, t = threadIdx.x;
    for (uint32_t j = t; j < COLUMNS; j += THREADS) shared.sum[j] = 0.0;
    const uint64_t last = p.items.offsets[item + 1];
    for (uint64_t first = p.items.offsets[item]; first < last; first += THREADS) {
        if (first + t < last) {
            const uint32_t user = partner(p.items, first + t);
            const double scale = p.users.scale[user];
            shared.begin[t] = p.users.offsets[user];
            shared.end[t] = p.users.offsets[user + 1];
            shared.weight[t] = scale * scale;
        }
        __syncthreads();
        const uint32_t users = uint32_t(min(last - first, uint64_t(THREADS)));
        for (uint32_t k = 0; k < users; k++) {
            for (uint64_t edge = shared.begin[k] + t; edge < shared.end[k]; edge += THREADS) {
                // Of a column before the first it is very large.
                const uint32_t j = partner(p.users, edge) - first_column;
                if (j < COLUMNS) shared.sum[j] += shared.weight[k];
            }
            // The next user may have the same items.
            __syncthreads();
        }
    }
    __syncthreads();
    const double scale = p.items.scale[item];
    for (uint32_t j = t; j < min(p.pitch - first_column, COLUMNS); j += THREADS) {
        p.g[uint64_t(item) * p.pitch + first_column + j] = float(scale * shared.sum[j]);
    }
}

}  // namespace gram

KERNEL(gram_product, GramProduct p, GRAM_PRODUCT_THREADS) {
    __shared__ gram::Product shared;
    gram::product(p, shared);
}

#define GRAM(NAME, T, N)                               \
    KERNEL_RESIDENT(gram_##NAME##N, Gram p, GRAM_THREADS, N == 64 ? 3 : 4) { \
        __shared__ gram::Shared<T, N> shared;          \
        gram::run<T, N>(p, shared);                    \
    }
#define GRAM_OF(NAME, T) GRAM(NAME, T, 32) GRAM(NAME, T, 64)
GRAM_OF(, float)
GRAM_OF(f16_, F16)
GRAM_OF(bf16_, Bf16)
#undef GRAM_OF
#undef GRAM

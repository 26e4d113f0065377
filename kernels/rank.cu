// rank: the best k items of every user under V rankings, in one scoring pass; seen items are left out.
//
//     score(u, i, v) = x - o,  x = sum over the components d, ascending from 0, of fma(p_ud, (s_i q_id), x),
//                              o = fma(tau_v, ln(n_i + 1), c_v s_i)
//
// Ties go to the lower item id. These are the definition and the bits of src/backend/cpu/rank.rs: every x is one chain
// of f32 fused multiply-adds, and o is computed on the host. A candidate is 64 bits that order like (score, -id).
//
// rank_logits y_i of an item branch, w . q_i or b2 + w2 . relu(W1 q_i + b1), in f64 with the roundings of the CPU, which
//             makes the gates s_i of them; one thread an item. For tables that are on the device.
// rank_pack   rows of a table, scaled, in tiles of 128 rows: as f32, and rounded to bf16 in slices of 32 components, which
//             rank stages; and bounds of the rows' norms. One block a tile. Reads 4 B, writes 6 B a component.
// rank_lists  one block a tile of 128 users and part of the items. The block goes through its part in tiles of 128
//             items: the tensor cores form x' of the rounded rows, each thread holding 8 x 8 of them, from slices that are
//             copied to shared memory three deep while the arithmetic goes on. No x is greater than X = x' + e |p| |q|. An
//             item whose X reaches the user's k-th best so far under some ranking becomes pending, in global memory that
//             stays in the cache; when enough are pending, a warp drops those that no longer reach it and the seen ones,
//             computes x of the rest by its definition, and merges them into the user's V lists. Neither x' nor x is stored.
//             A thread's 8 items have similar o, so that (largest X - smallest o) tells whether to look at them.
//             D bf16 multiply-adds and D / 32 B from the cache a score; D multiply-adds, 4 D B from the cache, and 8 B
//             written and read a pending item.
// rank_merge  one warp a user and ranking: the lists of the parts, to one. Reads 8 B a candidate, writes 8 B.
//
// The bound. A rounded component is within 2^-8 of its value, so that |p q - p' q'| <= (2^-7 + 2^-16) |p| |q| summed by
// Cauchy-Schwarz; the tensor cores' roundings of D terms and those of x stay far below D 2^-20 |p| |q|, and 2^-15 |p| |q|
// is left for the roundings of the bound itself: e = 2^-7 + 2^-14 + D 2^-20. What is lost below the normal numbers is
// less than what TINY makes good, which is added to norms, and where sums begin. A row with a component that bf16 has no
// finite number for has an infinite norm: all of its scores are computed.
//
// Deterministic: pending items arrive in any order, but candidates are distinct and totally ordered, all that could be
// in the list are among them, and a list is the k greatest of a set. Thresholds only leave out what is below k others.
#include "common.cuh"

namespace rank {

constexpr unsigned TILE = RANK_TILE, SLICE = RANK_SLICE, STAGES = RANK_STAGES, THREADS = RANK_THREADS;
// Users and items of a warp's part of a tile, of one product, and of a thread.
constexpr unsigned ROWS = 64, COLUMNS = 32, M = ROWS / 16, N = COLUMNS / 8, EACH = 8;
static_assert(TILE / ROWS * (TILE / COLUMNS) == THREADS / WARP, "a tile is divided among the warps");
static_assert(2 * M == EACH && 2 * N == EACH, "a thread has two users and items of each product");
constexpr unsigned PIECE = 8;  // numbers of 16 bytes
constexpr float HIGHEST = 3.402823466e38f, TINY = 1e-33f;

// Followed by thresholds [V, TILE] and for each merging warp a list and a batch.
struct Shared {
    uint16_t slices[STAGES][2][SLICE * TILE];  // of users, of items
    uint32_t pending[TILE];                    // how many there are of each user
    float error[TILE];                         // e |p| of each user
};
static_assert(sizeof(Shared) == RANK_SHARED, "the launcher asks for this much");

// A list and a batch, which may run over by a row of 32.
DEVICE uint32_t room(uint32_t length) { return 2 * length + WARP; }

// ---- candidates

DEVICE uint64_t candidate(uint32_t id, float score) {
    // -0 becomes +0: they are equal and must tie.
    const uint32_t bits = __float_as_uint(__fadd_rn(score, 0.0f));
    const uint32_t ordered = bits ^ (uint32_t(int32_t(bits) >> 31) | 0x80000000u);
    return uint64_t(ordered) << 32 | ~id;
}

DEVICE float score_of(uint64_t candidate) {
    const uint32_t ordered = uint32_t(candidate >> 32);
    return __uint_as_float(ordered ^ (uint32_t(int32_t(~ordered) >> 31) | 0x80000000u));
}

// ---- lists in shared memory, by the lanes of a warp: bitonic networks, in registers where keys are in one row of 32

// The key that a lane keeps when keys `distance` lanes apart are put in descending (or ascending) order.
DEVICE uint64_t exchange(uint64_t key, uint32_t distance, bool descending) {
    const uint64_t other = __shfl_xor_sync(ALL_LANES, key, int(distance));
    const bool greater = ((lane_id() & distance) == 0) == descending;
    return (key > other) == greater ? key : other;
}

// Sorts n keys that are in bitonic order; n is a power of two, at least 32.
DEVICE void order(uint64_t *keys, uint32_t n, bool descending) {
    for (uint32_t distance = n / 2; distance >= WARP; distance /= 2) {
        for (uint32_t pair = lane_id(); pair < n / 2; pair += WARP) {
            const uint32_t at = 2 * pair - (pair & (distance - 1));
            const uint64_t a = keys[at], b = keys[at + distance];
            if ((a < b) == descending) keys[at] = b, keys[at + distance] = a;
        }
        __syncwarp();
    }
    for (uint32_t at = lane_id(); at < n; at += WARP) {
        uint64_t key = keys[at];
        UNROLL
        for (uint32_t distance = WARP / 2; distance > 0; distance /= 2) key = exchange(key, distance, descending);
        keys[at] = key;
    }
    __syncwarp();
}

// Sorts n distinct keys or zeros, descending; n is a power of two, at least 32.
DEVICE void sort(uint64_t *keys, uint32_t n) {
    for (uint32_t at = lane_id(); at < n; at += WARP) {
        uint64_t key = keys[at];
        UNROLL
        for (uint32_t size = 2; size <= WARP; size *= 2) {
            UNROLL
            for (uint32_t distance = size / 2; distance > 0; distance /= 2) {
                key = exchange(key, distance, (at & size) == 0);
            }
        }
        keys[at] = key;
    }
    __syncwarp();
    for (uint32_t size = 2 * WARP; size <= n; size *= 2) {
        for (uint32_t first = 0; first < n; first += size) {
            order(keys + first, size, (first & size) == 0);
        }
    }
}

// The greatest `length` keys of a list and a batch of n <= length keys, both descending, become the list.
DEVICE void absorb(uint64_t *list, uint32_t length, const uint64_t *batch, uint32_t n) {
    for (uint32_t i = lane_id(); i < n; i += WARP) {
        const uint32_t at = length - 1 - i;
        list[at] = max(list[at], batch[i]);
    }
    __syncwarp();
    order(list, length, true);
}

// ---- seen items

DEVICE bool has_seen(const RankLists &p, uint32_t user, uint32_t item) {
    for (const RankSeen &seen : p.seen) {
        if (!seen.offsets) break;
        uint64_t low = seen.offsets[user], high = seen.offsets[user + 1];
        const uint64_t end = high;
        while (low < high) {
            const uint64_t middle = low + (high - low) / 2;
            if (seen.items[middle] < item) low = middle + 1;
            else high = middle;
        }
        if (low < end && seen.items[low] == item) return true;
    }
    return false;
}

// ---- one block's work

// Where a piece of a row is within it: pieces that a warp reads together are in different banks.
DEVICE uint32_t exchanged(uint32_t row, uint32_t piece) {
    static_assert(SLICE == 4 * PIECE, "four pieces a row");
    return piece ^ (row >> 1 & 3);
}

// Scores of a thread by its users r and items c.
struct Scores {
    float x[M][N][4];

    DEVICE float at(unsigned r, unsigned c) const { return x[r / 2][c / 2][r % 2 * 2 + c % 2]; }
};

struct Block {
    const RankLists &p;
    Shared &shared;

    // Score of each user's k-th best so far under ranking v.
    DEVICE float &threshold(uint32_t v, uint32_t user) const {
        return reinterpret_cast<float *>(&shared + 1)[v * TILE + user];
    }
    // A warp's list and batch.
    DEVICE uint64_t *scratch() const {
        float *after = reinterpret_cast<float *>(&shared + 1) + p.variants * TILE;
        return reinterpret_cast<uint64_t *>(after) + warp_id() * room(p.length);
    }
    // Which tile of users and part of the items.
    DEVICE uint64_t unit() const { return uint64_t(blockIdx.x) * p.parts + blockIdx.y; }

    // A thread's users and items.
    static DEVICE uint32_t row(unsigned r) { return warp_id() / 4 * ROWS + lane_id() / 4 + r / 2 * 16 + r % 2 * 8; }
    static DEVICE uint32_t column(unsigned c) { return warp_id() % 4 * COLUMNS + lane_id() % 4 * 2 + c / 2 * 8 + c % 2; }

    // Begins copying a slice of the users and one of an item tile.
    DEVICE void stage(uint32_t buffer, uint32_t item_tile, uint32_t slice) const {
        const uint64_t first = uint64_t(slice) * SLICE * TILE, tile = uint64_t(p.depth) * TILE;
        const uint16_t *users = p.users + blockIdx.x * tile + first, *items = p.items + item_tile * tile + first;
        UNROLL
        for (uint32_t at = PIECE * threadIdx.x; at < SLICE * TILE; at += PIECE * THREADS) {
            async_copy16(&shared.slices[buffer][0][at], users + at);
            async_copy16(&shared.slices[buffer][1][at], items + at);
        }
    }

    // x' += users x items over the components of a slice.
    DEVICE void multiply(uint32_t buffer, Scores &scores) const {
        const uint32_t lane = lane_id(), user = warp_id() / 4 * ROWS + lane % 16;
        const uint32_t item = warp_id() % 4 * COLUMNS + lane / 16 * 8 + lane % 8;
        const uint16_t *users = shared.slices[buffer][0] + user * SLICE, *items = shared.slices[buffer][1] + item * SLICE;
        UNROLL
        for (unsigned d = 0; d < SLICE / PIECE; d += 2) {
            // 16 rows on, pieces are exchanged alike.
            const uint32_t of_users = exchanged(user, d + lane / 16) * PIECE;
            const uint32_t of_items = exchanged(item, d + lane / 8 % 2) * PIECE;
            uint32_t b[N / 2][4];
            UNROLL
            for (unsigned n = 0; n < N / 2; n++) load_matrices(b[n], items + of_items + 16 * n * SLICE);
            UNROLL
            for (unsigned m = 0; m < M; m++) {
                uint32_t a[4];
                load_matrices(a, users + of_users + 16 * m * SLICE);
                UNROLL
                for (unsigned n = 0; n < N; n++) {
                    multiply_add(scores.x[m][n], a, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
    }

    // Makes pending what may reach a threshold.
    DEVICE void select(uint32_t item_tile, const Scores &scores) const {
        const float *norms = p.item_norms + uint64_t(item_tile) * TILE;
        const float *offsets = p.offsets + uint64_t(item_tile) * p.variants * TILE;
        float norm = 0.0f, highest[EACH];
        UNROLL
        for (unsigned c = 0; c < EACH; c++) norm = fmaxf(norm, norms[column(c)]);
        UNROLL
        for (unsigned r = 0; r < EACH; r++) {
            float x = scores.at(r, 0);
            UNROLL
            for (unsigned c = 1; c < EACH; c++) x = fmaxf(x, scores.at(r, c));
            highest[r] = __fmaf_rn(shared.error[row(r)], norm, x);
        }
        // Here and below: or the compiler begins with more of what follows than there are registers for.
        __syncwarp();
        uint32_t reaching[2] = {0, 0};  // a byte for each user, a bit for each item
        NO_UNROLL
        for (uint32_t v = 0; v < p.variants; v++) {
            float least = offsets[v * TILE + column(0)];
            UNROLL
            for (unsigned c = 1; c < EACH; c++) least = fminf(least, offsets[v * TILE + column(c)]);
            UNROLL
            for (unsigned r = 0; r < EACH; r++) {
                const float t = threshold(v, row(r));
                // Rounding is monotone: no X - o is greater.
                if (__fsub_rn(highest[r], least) < t) continue;
                const float error = shared.error[row(r)];
                UNROLL
                for (unsigned c = 0; c < EACH; c++) {
                    const float x = __fmaf_rn(error, norms[column(c)], scores.at(r, c));
                    const uint32_t reached = __fsub_rn(x, offsets[v * TILE + column(c)]) >= t;
                    reaching[r / 4] |= reached << (r % 4 * EACH + c);
                }
            }
        }
        __syncwarp();
        UNROLL
        for (unsigned r = 0; r < EACH; r++) {
            const uint32_t items = reaching[r / 4] >> (r % 4 * EACH) & 0xff;
            if (!items) continue;
            const float error = shared.error[row(r)];
            uint64_t *to = pending(row(r)) + atomicAdd(&shared.pending[row(r)], uint32_t(__popc(items)));
            UNROLL
            for (unsigned c = 0; c < EACH; c++) {
                if (!(items >> c & 1)) continue;
                const float x = __fmaf_rn(error, norms[column(c)], scores.at(r, c));
                *to++ = uint64_t(__float_as_uint(x)) << 32 | (item_tile * TILE + column(c));
            }
        }
    }

    // X, or x, and position of each of a user's pending items.
    DEVICE uint64_t *pending(uint32_t user) const { return p.pending + (unit() * TILE + user) * p.capacity; }

    // Merges pending items into lists: those of users who have enough of them, or at the end all.
    DEVICE void merge(bool all) const {
        if (warp_id() >= p.warps) return;
        for (uint32_t first = warp_id(); first < TILE; first += WARP * p.warps) {
            const uint32_t mine = first + lane_id() * p.warps;
            const uint32_t count = mine < TILE ? shared.pending[mine] : 0;
            uint32_t due = __ballot_sync(ALL_LANES, count > 0 && (all || count >= p.full));
            for (; due != 0; due &= due - 1) {
                const uint32_t lane = __ffs(int(due)) - 1;
                merge_user(first + lane * p.warps, __shfl_sync(ALL_LANES, count, int(lane)));
            }
        }
    }

    DEVICE void merge_user(uint32_t user, uint32_t count) const {
        for (uint32_t next = 0; next < count;) {
            const uint32_t scored = score(user, count, next);
            for (uint32_t v = 0; v < p.variants; v++) merge_into(user, v, scored);
        }
        __syncwarp();
        if (lane_id() == 0) shared.pending[user] = 0;
    }

    // Goes on through a user's pending items from `next` on, moves to the front, with x in place of X, those that reach a
    // threshold now and are not seen, and counts them; stops when there is a batch of them.
    DEVICE uint32_t score(uint32_t user, uint32_t count, uint32_t &next) const {
        const uint64_t place = uint64_t(blockIdx.x) * TILE + user;
        const uint32_t number = p.rows[place];
        const float *row = p.user_rows + place * p.depth;
        uint64_t *entries = pending(user);
        uint32_t kept = 0;
        for (; next < count && kept < p.length; next += WARP) {
            const bool inside = next + lane_id() < count;
            const uint64_t entry = inside ? entries[next + lane_id()] : 0;
            const uint32_t position = uint32_t(entry);
            const bool keep = inside && reaches(user, entry) && !has_seen(p, number, p.ids[position]);
            const uint32_t keeping = __ballot_sync(ALL_LANES, keep);
            if (keep) {
                const float x = dot(row, p.item_rows + uint64_t(position) * p.depth);
                entries[kept + __popc(keeping & lanes_before())] = uint64_t(__float_as_uint(x)) << 32 | position;
            }
            kept += __popc(keeping);
            __syncwarp();
        }
        return kept;
    }

    DEVICE bool reaches(uint32_t user, uint64_t entry) const {
        const float x = __uint_as_float(uint32_t(entry >> 32));
        for (uint32_t v = 0; v < p.variants; v++) {
            if (__fsub_rn(x, offset(uint32_t(entry), v)) >= threshold(v, user)) return true;
        }
        return false;
    }

    // x by its definition; components beyond D are zeros, which change no sum.
    DEVICE float dot(const float *user, const float *item) const {
        float x = 0.0f;
        UNROLL_4
        for (uint32_t d = 0; d < p.depth; d += 4) {
            const float4 a = load4(user + d), b = load4(item + d);
            x = __fmaf_rn(a.x, b.x, x);
            x = __fmaf_rn(a.y, b.y, x);
            x = __fmaf_rn(a.z, b.z, x);
            x = __fmaf_rn(a.w, b.w, x);
        }
        return x;
    }

    DEVICE float offset(uint32_t position, uint32_t v) const {
        const uint64_t tile = uint64_t(position / TILE) * p.variants + v;
        return p.offsets[tile * TILE + position % TILE];
    }

    // A pending item as a candidate under ranking v.
    DEVICE uint64_t candidate_of(uint64_t entry, uint32_t v) const {
        const uint32_t position = uint32_t(entry);
        const float x = __uint_as_float(uint32_t(entry >> 32));
        return candidate(p.ids[position], __fsub_rn(x, offset(position, v)));
    }

    // Merges a user's pending items into the list of one ranking.
    DEVICE void merge_into(uint32_t user, uint32_t v, uint32_t count) const {
        const uint64_t *entries = pending(user);
        uint64_t *stored = p.lists + ((unit() * TILE + user) * p.variants + v) * p.length;
        uint64_t *list = scratch(), *batch = list + p.length;
        for (uint32_t i = lane_id(); i < p.length; i += WARP) list[i] = stored[i];
        __syncwarp();
        uint64_t floor = list[p.k - 1];
        bool changed = false;
        for (uint32_t first = 0, filled = 0;;) {
            for (; first < count && filled < p.length; first += WARP) {
                const bool inside = first + lane_id() < count;
                const uint64_t key = inside ? candidate_of(entries[first + lane_id()], v) : 0;
                const uint32_t taking = __ballot_sync(ALL_LANES, key > floor);
                if (key > floor) batch[filled + __popc(taking & lanes_before())] = key;
                filled += __popc(taking);
            }
            if (filled == 0) break;
            const uint32_t n = min(filled, p.length), left = filled - n;
            const uint32_t size = n <= WARP ? WARP : 2u << (31 - __clz(int(n - 1)));
            for (uint32_t i = n + lane_id(); i < size; i += WARP) batch[i] = 0;
            __syncwarp();
            sort(batch, size);
            absorb(list, p.length, batch, size);
            if (lane_id() < left) batch[lane_id()] = batch[p.length + lane_id()];
            __syncwarp();
            floor = list[p.k - 1];
            filled = left;
            changed = true;
        }
        if (!changed) return;
        for (uint32_t i = lane_id(); i < p.length; i += WARP) stored[i] = list[i];
        if (lane_id() == 0 && floor != 0) threshold(v, user) = score_of(floor);
        __syncwarp();
    }
};

}  // namespace rank

namespace rank {

// Products of two f32 are exact in f64: it does not matter whether they are fused.
DEVICE double exact_dot(const float *a, const float *b, uint32_t n) {
    double sum = 0.0;
    for (uint32_t d = 0; d < n; d++) sum += double(a[d]) * double(b[d]);
    return sum;
}

}  // namespace rank

KERNEL(rank_logits, RankLogits p, RANK_THREADS) {
    const uint32_t item = blockIdx.x * RANK_THREADS + threadIdx.x;
    if (item >= p.count) return;
    const float *row = p.items + uint64_t(item) * p.stride;
    if (p.hidden == 0) {
        p.logits[item] = rank::exact_dot(p.branch, row, p.dim);
        return;
    }
    const float *b1 = p.branch + uint64_t(p.hidden) * p.dim, *w2 = b1 + p.hidden;
    double sum = 0.0;
    for (uint32_t h = 0; h < p.hidden; h++) {
        const double unit = rank::exact_dot(p.branch + uint64_t(h) * p.dim, row, p.dim) + double(b1[h]);
        sum = __dadd_rn(sum, __dmul_rn(double(w2[h]), fmax(unit, 0.0)));
    }
    p.logits[item] = double(w2[p.hidden]) + sum;
}

// blockIdx.x is the tile. Two threads a row, each with half of every slice.
KERNEL(rank_pack, RankPack p, RANK_THREADS) {
    using namespace rank;
    constexpr uint32_t HALF = SLICE / 2;
    static_assert(2 * TILE == THREADS, "two threads a row");
    const uint32_t half = threadIdx.x % 2, tile_row = threadIdx.x / 2, at = blockIdx.x * TILE + tile_row;
    const uint32_t row = at < p.count ? p.rows[at] : ~0u, slices = p.depth / SLICE;
    const bool filled = row < p.table_rows;
    const float scale = filled && p.scale ? p.scale[row] : 1.0f;
    uint32_t largest = 0;
    double squares = 0.0;
    for (uint32_t slice = 0; slice < slices; slice++) {
        const uint32_t first = slice * SLICE + half * HALF;
        float values[HALF];
        uint32_t words[HALF / 2];
        UNROLL
        for (uint32_t k = 0; k < HALF; k++) {
            const uint32_t d = first + k;
            const float value =
                filled && d < p.dim ? __fmul_rn(scale, p.table[uint64_t(row) * p.stride + d]) : 0.0f;
            values[k] = value;
            squares += double(value) * double(value);
            // Magnitudes order like their bits, and every infinity or NaN is above every number.
            largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
            const uint32_t rounded = to_bf16(fminf(fmaxf(value, -BF16_LARGEST), BF16_LARGEST));
            words[k / 2] = k % 2 == 0 ? rounded : words[k / 2] | rounded << 16;
        }
        UNROLL
        for (uint32_t k = 0; k < HALF; k += 4) {
            store4(p.exact + uint64_t(at) * p.depth + first + k,
                   make_float4(values[k], values[k + 1], values[k + 2], values[k + 3]));
        }
        uint16_t *packed = p.packed + (uint64_t(blockIdx.x) * slices + slice) * TILE * SLICE;
        UNROLL
        for (uint32_t k = 0; k < HALF / PIECE; k++) {
            *reinterpret_cast<uint4 *>(packed + tile_row * SLICE + exchanged(tile_row, half * (HALF / PIECE) + k) * PIECE) =
                make_uint4(words[4 * k], words[4 * k + 1], words[4 * k + 2], words[4 * k + 3]);
        }
    }
    squares += __shfl_xor_sync(ALL_LANES, squares, 1);
    const uint32_t row_largest = max(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
    if (half == 0) {
        const bool fits = row_largest <= __float_as_uint(BF16_LARGEST);
        p.norms[at] = fits ? float(sqrt(squares) * (1.0 + 1e-6)) + TINY : __uint_as_float(0x7f800000u);
    }
    largest = __reduce_max_sync(ALL_LANES, largest);
    if (lane_id() == 0) atomicMax(p.largest, largest);
}

// blockIdx.x is the tile of users, blockIdx.y the part of the items.
KERNEL_RESIDENT(rank_lists, RankLists p, RANK_THREADS, RANK_RESIDENT) {
    using namespace rank;
    DYNAMIC_SHARED(Shared, shared);
    const Block block = {p, *shared};

    for (uint32_t i = threadIdx.x; i < p.variants * TILE; i += THREADS) {
        // No score is lower than the one, and none reaches the other, which is NaN.
        const bool inside = blockIdx.x * TILE + i % TILE < p.count;
        block.threshold(0, i) = inside ? -HIGHEST : __uint_as_float(0x7fffffffu);
    }
    if (threadIdx.x < TILE) {
        shared->error[threadIdx.x] = p.error * p.user_norms[uint64_t(blockIdx.x) * TILE + threadIdx.x];
    }
    if (threadIdx.x < TILE) shared->pending[threadIdx.x] = 0;

    const uint32_t begin = uint32_t(uint64_t(p.item_tiles) * blockIdx.y / p.parts);
    const uint32_t end = uint32_t(uint64_t(p.item_tiles) * (blockIdx.y + 1) / p.parts);
    const uint32_t slices = p.depth / SLICE;
    // What is staged next, and where.
    uint32_t next_tile = begin, next_slice = 0, next_buffer = 0;
    auto stage_next = [&] {
        if (next_tile < end) block.stage(next_buffer, next_tile, next_slice);
        async_commit();
        next_buffer = next_buffer + 1 == STAGES ? 0 : next_buffer + 1;
        if (++next_slice == slices) next_slice = 0, next_tile++;
    };
    for (unsigned s = 0; s < STAGES - 1; s++) stage_next();

    uint32_t buffer = 0;
    for (uint32_t tile = begin; tile < end; tile++) {
        Scores scores;
        UNROLL
        for (unsigned i = 0; i < M * N * 4; i++) scores.x[i / (4 * N)][i / 4 % N][i % 4] = TINY;
        for (uint32_t slice = 0; slice < slices; slice++) {
            async_wait<STAGES - 2>();
            // This slice is there for all threads, and all are done with the one before, whose place is filled next.
            __syncthreads();
            stage_next();
            block.multiply(buffer, scores);
            buffer = buffer + 1 == STAGES ? 0 : buffer + 1;
        }
        block.select(tile, scores);
        __syncthreads();
        // The barrier of the next slice ends this.
        block.merge(tile + 1 == end);
    }
}

KERNEL(rank_merge, RankMerge p, RANK_THREADS) {
    using namespace rank;
    DYNAMIC_SHARED(uint64_t, shared);
    const uint64_t which = uint64_t(blockIdx.x) * p.warps + warp_id();
    if (warp_id() >= p.warps || which >= uint64_t(p.count) * p.variants) return;
    const uint32_t user = uint32_t(which / p.variants), v = uint32_t(which % p.variants);
    uint64_t *list = shared + warp_id() * room(p.length), *batch = list + p.length;
    auto load = [&](uint64_t *to, uint32_t part) {
        const uint64_t unit = uint64_t(user / TILE) * p.parts + part;
        const uint64_t *from = p.lists + ((unit * TILE + user % TILE) * p.variants + v) * p.length;
        for (uint32_t i = lane_id(); i < p.length; i += WARP) to[i] = from[i];
        __syncwarp();
    };
    load(list, 0);
    for (uint32_t part = 1; part < p.parts; part++) {
        load(batch, part);
        absorb(list, p.length, batch, p.length);
    }
    uint64_t *out = p.out + user * uint64_t(p.stride) + v * p.k;
    for (uint32_t i = lane_id(); i < p.k; i += WARP) out[i] = list[i];
}

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
// rank_pack   rows of a table, scaled, component by component within tiles of 128 rows: what rank stages is then
//             contiguous. One block a tile and 16 components; reads and writes 4 B a component.
// rank_lists  one block a tile of 128 users and part of the items. The block goes through its part in tiles of 128
//             items: each thread forms 8 x 8 scores in registers from slices of 16 components, which are copied to
//             shared memory three deep while the arithmetic goes on. A score that reaches the user's k-th best so far
//             under some ranking makes its item pending, in global memory that stays in the cache; when enough are
//             pending, a warp drops the seen ones and merges the rest into the user's V lists. The x are never stored.
//             A thread's 8 items have similar o, so that (largest x - smallest o) tells whether to look at them.
//             D fused multiply-adds and D / 16 B from the cache a score; 8 B written and read a pending item.
// rank_merge  one warp a user and ranking: the lists of the parts, to one. Reads 8 B a candidate, writes 8 B.
//
// Deterministic: pending items arrive in any order, but candidates are distinct and totally ordered, all that could be
// in the list are among them, and a list is the k greatest of a set. Thresholds only leave out what is below k others.
#include "common.cuh"

namespace rank {

constexpr unsigned TILE = RANK_TILE, SLICE = RANK_SLICE, STAGES = RANK_STAGES, THREADS = RANK_THREADS;
// Users and items of a thread: two groups of 4, half a tile apart.
constexpr unsigned GROUP = 4, EACH = 2 * GROUP, HALF = TILE / 2;
static_assert(TILE / EACH * (TILE / EACH) == THREADS, "a tile is divided among the threads");
constexpr float HIGHEST = 3.402823466e38f;

// Followed by thresholds [V, TILE] and for each merging warp a list and a batch.
struct Shared {
    float slices[STAGES][2][SLICE * TILE];  // of users, of items
    uint32_t pending[TILE];                 // how many there are of each user
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

struct Block {
    const RankLists &p;
    Shared &shared;
    float *thresholds;  // [V, TILE] score of each user's k-th best so far
    uint64_t *scratch;  // [warps, room(L)]
    uint64_t unit;      // which tile of users and part of the items
    uint32_t row, column;  // a thread's first user and item

    // Begins copying a slice of the users and one of an item tile.
    DEVICE void stage(uint32_t buffer, uint32_t item_tile, uint32_t slice) const {
        const uint64_t first = uint64_t(slice) * SLICE * TILE, tile = uint64_t(p.depth) * TILE;
        const float *users = p.users + blockIdx.x * tile + first, *items = p.items + item_tile * tile + first;
        UNROLL
        for (uint32_t at = GROUP * threadIdx.x; at < SLICE * TILE; at += GROUP * THREADS) {
            async_copy16(&shared.slices[buffer][0][at], users + at);
            async_copy16(&shared.slices[buffer][1][at], items + at);
        }
    }

    // x += users x items over the components of a slice.
    DEVICE void multiply(uint32_t buffer, float (&x)[EACH][EACH]) const {
        const float *users = shared.slices[buffer][0] + row, *items = shared.slices[buffer][1] + column;
        UNROLL
        for (unsigned d = 0; d < SLICE; d++) {
            const float4 u[2] = {load4(users + d * TILE), load4(users + d * TILE + HALF)};
            const float4 i[2] = {load4(items + d * TILE), load4(items + d * TILE + HALF)};
            const float a[EACH] = {u[0].x, u[0].y, u[0].z, u[0].w, u[1].x, u[1].y, u[1].z, u[1].w};
            const float b[EACH] = {i[0].x, i[0].y, i[0].z, i[0].w, i[1].x, i[1].y, i[1].z, i[1].w};
            UNROLL
            for (unsigned r = 0; r < EACH; r++) {
                UNROLL
                for (unsigned c = 0; c < EACH; c++) x[r][c] = __fmaf_rn(a[r], b[c], x[r][c]);
            }
        }
    }

    // Makes pending what reaches a threshold.
    DEVICE void select(uint32_t item_tile, const float (&x)[EACH][EACH]) const {
        float highest[EACH];
        UNROLL
        for (unsigned r = 0; r < EACH; r++) {
            highest[r] = x[r][0];
            UNROLL
            for (unsigned c = 1; c < EACH; c++) highest[r] = fmaxf(highest[r], x[r][c]);
        }
        uint32_t reaching[2] = {0, 0};  // a byte for each user, a bit for each item
        const float *offsets = p.offsets + uint64_t(item_tile) * p.variants * TILE + column;
        NO_UNROLL
        for (uint32_t v = 0; v < p.variants; v++) {
            const float4 i[2] = {load4(offsets + v * TILE), load4(offsets + v * TILE + HALF)};
            const float4 u[2] = {load4(thresholds + v * TILE + row), load4(thresholds + v * TILE + row + HALF)};
            const float o[EACH] = {i[0].x, i[0].y, i[0].z, i[0].w, i[1].x, i[1].y, i[1].z, i[1].w};
            const float t[EACH] = {u[0].x, u[0].y, u[0].z, u[0].w, u[1].x, u[1].y, u[1].z, u[1].w};
            float least = o[0];
            UNROLL
            for (unsigned c = 1; c < EACH; c++) least = fminf(least, o[c]);
            UNROLL
            for (unsigned r = 0; r < EACH; r++) {
                // Rounding is monotone: no x - o is greater.
                if (__fsub_rn(highest[r], least) < t[r]) continue;
                UNROLL
                for (unsigned c = 0; c < EACH; c++) {
                    const uint32_t reached = __fsub_rn(x[r][c], o[c]) >= t[r];
                    reaching[r / GROUP] |= reached << (r % GROUP * EACH + c);
                }
            }
        }
        UNROLL
        for (unsigned r = 0; r < EACH; r++) {
            const uint32_t items = reaching[r / GROUP] >> (r % GROUP * EACH) & 0xff;
            if (!items) continue;
            const uint32_t user = row + r / GROUP * HALF + r % GROUP;
            uint64_t *to = pending(user) + atomicAdd(&shared.pending[user], uint32_t(__popc(items)));
            UNROLL
            for (unsigned c = 0; c < EACH; c++) {
                const uint32_t position = item_tile * TILE + column + c / GROUP * HALF + c % GROUP;
                if (items >> c & 1) *to++ = uint64_t(__float_as_uint(x[r][c])) << 32 | position;
            }
        }
    }

    // x and position of each of a user's pending items.
    DEVICE uint64_t *pending(uint32_t user) const { return p.pending + (unit * TILE + user) * p.capacity; }

    // Merges pending items into lists: those of users who have enough of them, or at the end all.
    DEVICE void merge(bool all) const {
        if (warp_id() >= p.warps) return;
        for (uint32_t user = warp_id(); user < TILE; user += p.warps) {
            const uint32_t count = shared.pending[user];
            if (count == 0 || (count < p.full && !all)) continue;
            const uint32_t unseen = drop_seen(user, count);
            for (uint32_t v = 0; v < p.variants; v++) merge_into(user, v, unseen);
            __syncwarp();
            if (lane_id() == 0) shared.pending[user] = 0;
        }
    }

    // Moves the unseen ones of a user's pending items to the front and counts them.
    DEVICE uint32_t drop_seen(uint32_t user, uint32_t count) const {
        const uint32_t number = p.rows[blockIdx.x * TILE + user];
        uint64_t *entries = pending(user);
        uint32_t kept = 0;
        for (uint32_t first = 0; first < count; first += WARP) {
            const bool inside = first + lane_id() < count;
            const uint64_t entry = inside ? entries[first + lane_id()] : 0;
            const bool keep = inside && !has_seen(p, number, p.ids[uint32_t(entry)]);
            const uint32_t keeping = __ballot_sync(ALL_LANES, keep);
            if (keep) entries[kept + __popc(keeping & lanes_before())] = entry;
            kept += __popc(keeping);
            __syncwarp();
        }
        return kept;
    }

    // A pending item as a candidate under ranking v.
    DEVICE uint64_t candidate_of(uint64_t entry, uint32_t v) const {
        const uint32_t position = uint32_t(entry);
        const uint64_t tile = uint64_t(position / TILE) * p.variants + v;
        const float offset = p.offsets[tile * TILE + position % TILE];
        return candidate(p.ids[position], __fsub_rn(__uint_as_float(uint32_t(entry >> 32)), offset));
    }

    // Merges a user's pending items into the list of one ranking.
    DEVICE void merge_into(uint32_t user, uint32_t v, uint32_t count) const {
        const uint64_t *entries = pending(user);
        uint64_t *stored = p.lists + ((unit * TILE + user) * p.variants + v) * p.length;
        uint64_t *list = scratch + warp_id() * room(p.length), *batch = list + p.length;
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
        if (lane_id() == 0 && floor != 0) thresholds[v * TILE + user] = score_of(floor);
        __syncwarp();
    }
};

}  // namespace rank

namespace rank {

// Products of two f32 are exact in f64: it does not matter whether they are fused.
DEVICE double dot(const float *a, const float *b, uint32_t n) {
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
        p.logits[item] = rank::dot(p.branch, row, p.dim);
        return;
    }
    const float *b1 = p.branch + uint64_t(p.hidden) * p.dim, *w2 = b1 + p.hidden;
    double sum = 0.0;
    for (uint32_t h = 0; h < p.hidden; h++) {
        const double unit = rank::dot(p.branch + uint64_t(h) * p.dim, row, p.dim) + double(b1[h]);
        sum = __dadd_rn(sum, __dmul_rn(double(w2[h]), fmax(unit, 0.0)));
    }
    p.logits[item] = double(w2[p.hidden]) + sum;
}

// blockIdx.x is the tile, blockIdx.y the slice.
KERNEL(rank_pack, RankPack p, RANK_THREADS) {
    constexpr uint32_t TILE = RANK_TILE, SLICE = RANK_SLICE;
    const uint32_t place = threadIdx.x % TILE, at = blockIdx.x * TILE + place;
    const uint32_t row = at < p.count ? p.rows[at] : ~0u;
    const bool filled = row < p.table_rows;
    const float scale = filled && p.scale ? p.scale[row] : 1.0f;
    uint32_t largest = 0;
    for (uint32_t k = threadIdx.x / TILE; k < SLICE; k += RANK_THREADS / TILE) {
        const uint32_t d = blockIdx.y * SLICE + k;
        const float value =
            filled && d < p.dim ? __fmul_rn(scale, p.table[uint64_t(row) * p.stride + d]) : 0.0f;
        p.packed[(uint64_t(blockIdx.x) * p.depth + d) * TILE + place] = value;
        // Magnitudes order like their bits, and every infinity or NaN is above every number.
        largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
    }
    largest = __reduce_max_sync(ALL_LANES, largest);
    if (lane_id() == 0) atomicMax(p.largest, largest);
}

// blockIdx.x is the tile of users, blockIdx.y the part of the items.
KERNEL(rank_lists, RankLists p, RANK_THREADS) {
    using namespace rank;
    DYNAMIC_SHARED(Shared, shared);
    float *thresholds = reinterpret_cast<float *>(shared + 1);
    uint64_t *scratch = reinterpret_cast<uint64_t *>(thresholds + p.variants * TILE);
    // A warp covers 16 users and 32 items of each half of the tile.
    const uint32_t row = GROUP * (warp_id() / 2 * 4 + lane_id() / 8), column = GROUP * (warp_id() % 2 * 8 + lane_id() % 8);
    const Block block = {p, *shared, thresholds, scratch, uint64_t(blockIdx.x) * p.parts + blockIdx.y, row, column};

    for (uint32_t i = threadIdx.x; i < p.variants * TILE; i += THREADS) {
        // No score is lower than the one, and none reaches the other.
        const bool inside = blockIdx.x * TILE + i % TILE < p.count;
        thresholds[i] = inside ? -HIGHEST : __uint_as_float(0x7f800000u);
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
        float x[EACH][EACH] = {};
        for (uint32_t slice = 0; slice < slices; slice++) {
            async_wait<STAGES - 2>();
            // This slice is there for all threads, and all are done with the one before, whose place is filled next.
            __syncthreads();
            stage_next();
            block.multiply(buffer, x);
            buffer = buffer + 1 == STAGES ? 0 : buffer + 1;
        }
        block.select(tile, x);
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

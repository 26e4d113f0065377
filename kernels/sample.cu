// sample: the batches of S consecutive steps, and which rows of the user and item tables each of them touches.
//
// sample_draw    users, positives and negatives [S, B]: the integers of src/sampling, which are pure functions of
//                (seed, step, row). One thread a row; blockIdx.y is the step. Reads about 2 log2(degree) words of the
//                user's row besides the tables, writes 12 B a row. Negatives by margin: the counts of all items of the
//                user too.
// sample_group   for each step and side (users, items), the samples put together by row. A batch of n rows has 2n
//                samples: sample s < n is row s with its positive, sample n + s is row s with its negative. One block
//                a (step, side): blockIdx.x is the side, blockIdx.y the step. A stable radix sort of the samples by
//                row; the samples' numbers are in shared memory (sample_group, 16 bits each, 2B up to 65,536 and as
//                shared memory allows) or in `scratch` (sample_group_large), the rows themselves are read where they
//                lie, 8 KB to 128 KB that stay in the cache. Writes 16 B a sample and 4 B a distinct row.
//
// sample_groups_OBJECTIVE  which rows are of the objective's second group, and one over the rows of either group. One
//                block a step; reads 12 B and writes a bit a row.
//
// Deterministic: no atomics; every place is computed from counts, and equal rows keep the order of their samples.
#include "common.cuh"
#include "objectives/cause.cuh"

namespace sample {

// ---- draw

// Interactions per entry of block_user.
constexpr uint64_t BLOCK = 64;
// Rejections after which an alias draw is replaced by an exact draw over the unseen items.
constexpr uint32_t ATTEMPTS = 64;

// A user's training items, ascending.
struct Seen {
    const uint32_t *items;
    uint32_t length;

    // How many of them are below `item`.
    DEVICE uint32_t before(uint32_t item) const {
        uint32_t low = 0;
        for (uint32_t left = length; left > 0;) {
            uint32_t half = left / 2;
            bool less = items[low + half] < item;
            low = less ? low + half + 1 : low;
            left = less ? left - half - 1 : half;
        }
        return low;
    }
    DEVICE bool contains(uint32_t item) const {
        uint32_t at = before(item);
        return at < length && items[at] == item;
    }
    // The k-th (from 0) item that is not among them: items[m] - m others precede items[m].
    DEVICE uint32_t other(uint32_t k) const {
        uint32_t low = 0;
        for (uint32_t left = length; left > 0;) {
            uint32_t half = left / 2;
            bool less = items[low + half] - (low + half) <= k;
            low = less ? low + half + 1 : low;
            left = less ? left - half - 1 : half;
        }
        return k + low;
    }
};

// Calls f(item, weight) for every item outside `seen`, ascending, until it returns false.
template <class F> DEVICE void each_other(const SampleDraw &p, Seen seen, F f) {
    uint32_t at = 0;
    for (uint32_t item = 0; item < p.items; item++) {
        if (at < seen.length && seen.items[at] == item) at++;
        else if (!f(item, p.weight[item])) return;
    }
}

// One pass over all unseen items by weight; rare, so one thread does it, in the order of the sum on the CPU.
NOINLINE uint32_t draw_exactly(const SampleDraw &p, Seen seen, uint32_t word) {
    double total = 0.0;
    each_other(p, seen, [&](uint32_t, double weight) {
        total += weight;
        return true;
    });
    if (total <= 0.0) return seen.other(below(word, p.items - seen.length));
    double target = total * (double(word) + 0.5) / 4294967296.0;
    uint32_t last = 0;
    each_other(p, seen, [&](uint32_t item, double weight) {
        if (weight <= 0.0) return true;
        last = item;
        target -= weight;
        return target >= 0.0;
    });
    return last;
}

// Fewest unseen items of a pool that is drawn from while the other one has as many.
constexpr uint32_t POOL = 40;
// The margin's factor from epoch to epoch.
constexpr double MARGIN_DECAY = 0.9;

// An unseen item with more interactions than the positive by the epoch's margin (up), or fewer than half (down): see
// src/sampling/margin.rs. The sample is that of `row` in `step`.
NOINLINE uint32_t draw_by_margin(const SampleDraw &p, Seen seen, uint32_t positive, uint32_t row, uint64_t step) {
    const uint32_t margin = uint32_t(double(p.margin) * power(MARGIN_DECAY, step / p.steps_per_epoch));
    const uint64_t n = p.count[positive], enough = n + margin + 1, few = (n + 1) / 2;
    // Up is the suffix of `order` from `up` on, down the prefix before `down`.
    const uint32_t up = p.fewer[min(enough, uint64_t(p.fewer_last))], down = p.fewer[min(few, uint64_t(p.fewer_last))];
    uint32_t more = p.items - up, less = down;
    for (uint32_t i = 0; i < seen.length; i++) {
        const uint32_t count = p.count[seen.items[i]];
        more -= count >= enough;
        less -= count < few;
    }
    const uint2 key = halves(p.seed);
    const uint4 words = philox(make_uint4(row, uint32_t(step), uint32_t(step >> 32), 0), key);
    if (more == 0 && less == 0) return seen.other(below(words.y, p.items - seen.length));
    const bool coin = words.z >> 31;
    const bool is_down = less > 0 && (more < POOL || (coin && less >= POOL));
    const uint32_t *pool = is_down ? p.order : p.order + up;
    const uint32_t size = is_down ? down : p.items - up;
    uint32_t word = words.y;
    for (uint32_t attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const uint32_t item = pool[below(word, size)];
        if (!seen.contains(item)) return item;
        word = philox(make_uint4(row, uint32_t(step), uint32_t(step >> 32), attempt), key).x;
    }
    // One pass over the pool.
    uint32_t left = below(word, is_down ? less : more);
    for (uint32_t i = 0; i < size; i++) {
        if (!seen.contains(pool[i]) && left-- == 0) return pool[i];
    }
    return pool[0];
}

DEVICE uint32_t draw_negative(const SampleDraw &p, Seen seen, uint4 words, uint4 counter, uint2 key) {
    if (p.threshold == nullptr) return seen.other(below(words.y, p.items - seen.length));
    uint32_t column_word = words.y, coin = words.z;
    for (uint32_t attempt = 1;; attempt++) {
        uint32_t column = below(column_word, p.items);
        uint32_t item = coin < p.threshold[column] ? column : p.alias[column];
        if (!seen.contains(item)) return item;
        uint4 more = philox(make_uint4(counter.x, counter.y, counter.z, counter.w + attempt), key);
        if (attempt == ATTEMPTS) return draw_exactly(p, seen, more.x);
        column_word = more.x, coin = more.y;
    }
}

}  // namespace sample

KERNEL(sample_draw, SampleDraw p, SAMPLE_DRAW_THREADS) {
    using namespace sample;
    const uint64_t step = *p.first_step + blockIdx.y, epoch = step / p.steps_per_epoch;
    const bool by_user = p.kind == SAMPLER_USER_UNIFORM;
    const uint32_t positives = p.batch / p.per_positive;
    const uint64_t first = by_user ? 0 : (step - epoch * p.steps_per_epoch) * positives;
    const uint64_t rows = (by_user ? positives : min(uint64_t(positives), p.interactions - first)) * p.per_positive;
    const uint32_t row = blockIdx.x * SAMPLE_DRAW_THREADS + threadIdx.x;
    if (row == 0) {
        p.step[blockIdx.y] = step;
        p.rows[blockIdx.y] = uint32_t(rows);
    }
    if (row >= rows) return;

    const uint2 key = halves(p.seed);
    const uint4 counter = make_uint4(row, uint32_t(step), uint32_t(step >> 32), 0);
    const uint4 words = philox(counter, key);
    // A permutation of the users for each step, or one of the interactions for each epoch.
    const Permutation permutation(by_user ? p.users_eligible : uint32_t(p.interactions), p.seed,
                                  by_user ? step : epoch);
    const uint32_t shared = row / p.per_positive, lead = shared * p.per_positive;
    uint32_t k = permutation(uint32_t(first) + shared), place = 0;
    if (!by_user) {
        const uint64_t interaction = k;
        k = p.block_user[interaction / BLOCK];
        while (p.before[k + 1] <= interaction) k++;
        place = uint32_t(interaction - p.before[k]);
    }
    const uint32_t user = p.eligible[k];
    const uint64_t begin = p.offsets[user];
    const Seen seen = {p.seen + begin, uint32_t(p.offsets[user + 1] - begin)};
    if (by_user) {
        // The positive is that of the first row that shares it.
        const uint4 of_lead = make_uint4(lead, counter.y, counter.z, 0);
        place = below(lead == row ? words.x : philox(of_lead, key).x, seen.length);
    }

    const uint64_t out = uint64_t(blockIdx.y) * p.batch + row;
    p.users[out] = user;
    p.positives[out] = seen.items[place];
    p.negatives[out] = p.order != nullptr ? draw_by_margin(p, seen, seen.items[place], row, step)
                                          : draw_negative(p, seen, words, counter, key);
}

namespace sample {

template <class Objective> DEVICE void groups(const SampleGroups &p) {
    constexpr unsigned WARPS = SAMPLE_GROUPS_THREADS / WARP;
    __shared__ uint32_t partial[WARPS];
    const uint32_t n = p.rows[blockIdx.x];
    const uint64_t first = uint64_t(blockIdx.x) * p.batch, words = (p.batch + WARP - 1) / WARP;
    const uint2 key = halves(p.seed);
    uint32_t count = 0;
    for (uint32_t base = warp_id() * WARP; base < n; base += SAMPLE_GROUPS_THREADS) {
        const uint32_t row = base + lane_id();
        bool second = false;
        if (row < n) {
            const uint32_t positive = p.positives[first + row];
            second = Objective::second_group(p.users[first + row], positive, p.constants[positive], key);
        }
        const uint32_t bits = __ballot_sync(ALL_LANES, second);
        if (lane_id() == 0) p.second[blockIdx.x * words + base / WARP] = bits;
        count += second;
    }
    count = block_sum<WARPS>(count, partial);
    if (threadIdx.x < 2) {
        const uint32_t rows = threadIdx.x == 0 ? n - count : count;
        p.weight[2 * blockIdx.x + threadIdx.x] = rows > 0 ? 1.0f / float(rows) : 0.0f;
    }
}

}  // namespace sample

KERNEL(sample_groups_cause, SampleGroups p, SAMPLE_GROUPS_THREADS) { sample::groups<Cause>(p); }

namespace sample {

// ---- group

constexpr uint32_t GROUP_THREADS = SAMPLE_GROUP_THREADS, GROUP_WARPS = GROUP_THREADS / WARP;
constexpr uint32_t DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS;

struct Shared {
    uint32_t counts[GROUP_WARPS][DIGITS];  // by warp and digit: how many, then the next free place
    uint32_t partial[GROUP_WARPS];
};
static_assert(sizeof(Shared) == SAMPLE_GROUP_SHARED, "the launcher asks for this much");

// The sum over the threads before this one. `partial` may be used again after the next barrier.
DEVICE uint32_t block_exclusive_sum(uint32_t value, uint32_t *partial) {
    uint32_t before = warp_exclusive_sum(value);
    if (lane_id() == WARP - 1) partial[warp_id()] = before + value;
    __syncthreads();
    uint32_t warps_before = warp_exclusive_sum(partial[lane_id()]);
    return __shfl_sync(ALL_LANES, warps_before, warp_id()) + before;
}

// The samples of one (step, side), sorted in `from`; `to` is of the same size. Index holds any sample's number.
template <class Index> DEVICE void group(const SampleGroup &p, Shared &shared, Index *from, Index *to) {
    const SampleSide &side = p.side[blockIdx.x];
    const uint64_t step = blockIdx.y, capacity = 2 * uint64_t(p.batch);
    const uint32_t rows = p.rows[step], samples = 2 * rows;
    const uint32_t *first = side.first + step * p.batch, *second = side.second + step * p.batch;
    auto id = [&](uint32_t sample) { return sample < rows ? first[sample] : second[sample - rows]; };

    // A warp owns consecutive places, and goes through them 32 at a time.
    const uint32_t warp = warp_id(), lane = lane_id();
    const uint32_t share = (samples + GROUP_THREADS - 1) / GROUP_THREADS * WARP;
    const uint32_t begin = min(warp * share, samples), end = min(begin + share, samples);

    for (uint32_t i = threadIdx.x; i < samples; i += GROUP_THREADS) from[i] = Index(i);
    const uint32_t passes = (side.id_bits + DIGIT_BITS - 1) / DIGIT_BITS;
    const uint32_t width = passes == 0 ? 0 : (side.id_bits + passes - 1) / passes;
    for (uint32_t pass = 0; pass < passes; pass++) {
        for (uint32_t d = lane; d < DIGITS; d += WARP) shared.counts[warp][d] = 0;
        __syncthreads();
        // Calls f(inside, sample, digit, lanes of the same digit) in all lanes, for each 32 samples of this warp's share.
        auto each = [&](auto f) {
            for (uint32_t base = begin; base < end; base += WARP) {
                const bool inside = base + lane < end;
                const uint32_t sample = inside ? uint32_t(from[base + lane]) : 0;
                const uint32_t digit = inside ? id(sample) >> (pass * width) & ((1u << width) - 1) : DIGITS;
                f(inside, sample, digit, __match_any_sync(ALL_LANES, digit));
                __syncwarp();
            }
        };
        each([&](bool inside, uint32_t, uint32_t digit, uint32_t same) {
            if (inside && (same & lanes_before()) == 0) shared.counts[warp][digit] += __popc(same);
        });
        __syncthreads();
        uint32_t total = 0;
        if (threadIdx.x < DIGITS) {
            for (uint32_t w = 0; w < GROUP_WARPS; w++) total += shared.counts[w][threadIdx.x];
        }
        uint32_t place = block_exclusive_sum(total, shared.partial);
        if (threadIdx.x < DIGITS) {
            for (uint32_t w = 0; w < GROUP_WARPS; w++) {
                const uint32_t count = shared.counts[w][threadIdx.x];
                shared.counts[w][threadIdx.x] = place;
                place += count;
            }
        }
        __syncthreads();
        each([&](bool inside, uint32_t sample, uint32_t digit, uint32_t same) {
            const uint32_t next = inside ? shared.counts[warp][digit] : 0;
            __syncwarp();
            if (!inside) return;
            to[next + __popc(same & lanes_before())] = Index(sample);
            if ((same & lanes_before()) == 0) shared.counts[warp][digit] = next + __popc(same);
        });
        Index *swap = from;
        from = to;
        to = swap;
    }
    __syncthreads();

    // A place where a row begins opens a slot.
    auto opens = [&](uint32_t place) {
        return place < end && (place == 0 || id(uint32_t(from[place])) != id(uint32_t(from[place - 1])));
    };
    uint32_t heads = 0;
    for (uint32_t base = begin; base < end; base += WARP) heads += __popc(__ballot_sync(ALL_LANES, opens(base + lane)));
    // Every lane of a warp counts for its warp: let the first one speak.
    uint32_t slot = block_exclusive_sum(lane == 0 ? heads : 0, shared.partial);
    slot = __shfl_sync(ALL_LANES, slot, 0);
    uint32_t *touched = side.touched + step * capacity, *starts = side.starts + step * (capacity + 1);
    for (uint32_t base = begin; base < end; base += WARP) {
        const uint32_t place = base + lane;
        const bool opening = opens(place);
        const uint32_t opened = __ballot_sync(ALL_LANES, opening);
        if (place < end) {
            const uint32_t sample = uint32_t(from[place]);
            const uint32_t mine = slot + __popc(opened & (lanes_before() << 1 | 1)) - 1;
            side.samples[step * capacity + place] = sample;
            side.slot[step * capacity + sample] = mine;
            if (opening) {
                touched[mine] = id(sample);
                starts[mine] = place;
            }
            if (place + 1 == samples) {
                side.count[step] = mine + 1;
                starts[mine + 1] = samples;
            }
        }
        slot += __popc(opened);
    }
    if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0) *p.first_step += gridDim.y;
}

}  // namespace sample

// Dynamic shared memory: the counts, and [2, 2B] numbers of 16 bits.
KERNEL(sample_group, SampleGroup p, SAMPLE_GROUP_THREADS) {
    DYNAMIC_SHARED(sample::Shared, shared);
    uint16_t *numbers = reinterpret_cast<uint16_t *>(shared + 1);
    sample::group(p, *shared, numbers, numbers + 2 * p.batch);
}

// Dynamic shared memory: the counts.
KERNEL(sample_group_large, SampleGroup p, SAMPLE_GROUP_THREADS) {
    DYNAMIC_SHARED(sample::Shared, shared);
    const uint64_t capacity = 2 * uint64_t(p.batch);
    uint32_t *numbers = p.scratch + (uint64_t(blockIdx.y) * 2 + blockIdx.x) * 2 * capacity;
    sample::group(p, *shared, numbers, numbers + capacity);
}

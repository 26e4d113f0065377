// One struct of parameters per kernel: the only interface between Rust and CUDA. src/backend/cuda/params.rs mirrors it
// (tests/params.rs compares, and MACR_BLESS=1 rewrites it). Fixed-width types and pointers only; no includes but
// <stdint.h>. Shapes: S steps of a chunk, B rows of a full batch, U users, I items.
#pragma once
#include <stdint.h>

// Kinds of samplers.
#define SAMPLER_USER_UNIFORM 0
#define SAMPLER_INTERACTION 1

// Full ranking: threads of a block; users, and items, of a tile; components that are staged at once, and how many stages;
// rankings of one pass; longest list; sets of seen items; shared memory besides thresholds and lists.
#define RANK_THREADS 256
#define RANK_TILE 128
#define RANK_SLICE 16
#define RANK_STAGES 3
#define RANK_VARIANTS 32
#define RANK_LONGEST 1024
#define RANK_SEEN 4
#define RANK_SHARED 49664

// Threads of a block, and shared memory apart from the samples' numbers.
#define SAMPLE_DRAW_THREADS 256
#define SAMPLE_GROUP_THREADS 1024
#define SAMPLE_GROUP_SHARED 32896

// sample_draw: the batches of S consecutive steps.
typedef struct {
    const uint64_t *first_step;  // [1] the first step of the chunk, counted from 0 over the whole training
    const uint64_t *offsets;     // [U + 1] training items by user
    const uint32_t *seen;        // [nnz]   ascending within a user
    const uint32_t *eligible;    // [E] users that can be drawn
    const uint64_t *before;      // [E + 1] interactions before each eligible user; interaction sampler only
    const uint32_t *block_user;  // the eligible user of every 64th interaction; interaction sampler only
    const uint64_t *threshold;   // [I] alias table of the negatives; null: uniform
    const uint32_t *alias;       // [I]
    const double *weight;        // [I]
    uint64_t *step;              // [S] out: number of each step
    uint32_t *rows;              // [S] out: rows of each step's batch, at most B
    uint32_t *users;             // [S, B] out
    uint32_t *positives;         // [S, B] out
    uint32_t *negatives;         // [S, B] out
    uint64_t seed;
    uint64_t steps_per_epoch;
    uint64_t interactions;  // of the eligible users; interaction sampler only
    uint32_t users_eligible;
    uint32_t items;
    uint32_t batch;
    uint32_t kind;
} SampleDraw;

// Where the samples of one side, users or items, are put together by row of that side's table.
typedef struct {
    const uint32_t *first;   // [S, B] row of sample s < n, with n the rows of the batch
    const uint32_t *second;  // [S, B] row of sample n + s
    uint32_t *touched;       // [S, 2B]     out: distinct rows, ascending
    uint32_t *starts;        // [S, 2B + 1] out: where each distinct row's samples begin in `samples`
    uint32_t *samples;       // [S, 2B]     out: samples by row, ascending within a row
    uint32_t *slot;          // [S, 2B]     out: place of each sample's row in `touched`
    uint32_t *count;         // [S]         out: number of distinct rows
    uint32_t id_bits;        // every row's number is below 2^id_bits
    uint32_t unused;
} SampleSide;

// sample_group and sample_group_large.
typedef struct {
    uint64_t *first_step;  // [1] advanced by S
    const uint32_t *rows;  // [S]
    uint32_t *scratch;     // [S, 2, 2, 2B] sample_group_large only
    SampleSide side[2];    // users, items
    uint32_t batch;
    uint32_t unused;
} SampleGroup;

// rank_gates: the item gates of a linear branch.
typedef struct {
    const float *items;   // [I, stride]
    const float *weight;  // [dim]
    float *gates;         // [I] out
    uint32_t count;       // I
    uint32_t dim;
    uint32_t stride;
    uint32_t unused;
} RankGates;

// rank_pack: rows of a table, component by component within tiles of RANK_TILE rows. T tiles.
typedef struct {
    const float *table;    // [rows, stride]
    const float *scale;    // [rows]; null: 1
    const uint32_t *rows;  // [count] which row; beyond the table: a row of zeros
    float *packed;         // [T, depth, RANK_TILE] out; zeros where there is no row or component
    uint32_t *largest;     // [1] raised to the bits of the largest magnitude in `packed`
    uint32_t table_rows;
    uint32_t count;
    uint32_t dim;
    uint32_t stride;
    uint32_t depth;  // dim rounded up to a multiple of RANK_SLICE
    uint32_t unused;
} RankPack;

// Items that users have seen.
typedef struct {
    const uint64_t *offsets;  // [U + 1]; null: none
    const uint32_t *items;    // [nnz] ascending within a user
} RankSeen;

// rank_lists: T tiles of users, J tiles of items in P parts, V rankings; lists of length L, a power of two.
typedef struct {
    const float *users;        // [T, depth, RANK_TILE]
    const float *items;        // [J, depth, RANK_TILE]
    const float *offsets;      // [J, V, RANK_TILE] subtracted from scores; infinite where there is no item
    const uint32_t *ids;       // [J, RANK_TILE]
    const uint32_t *rows;      // [count] the users' numbers
    RankSeen seen[RANK_SEEN];  // by user number
    uint64_t *pending;         // [T, P, RANK_TILE, capacity] scratch
    uint64_t *lists;           // [T, P, RANK_TILE, V, L] zero on entry; out: the best k of each part and more
    uint32_t count;
    uint32_t item_tiles;  // J
    uint32_t depth;
    uint32_t parts;     // P
    uint32_t variants;  // V
    uint32_t k;
    uint32_t length;    // L
    uint32_t full;      // pending candidates that are merged into the lists
    uint32_t capacity;  // full + RANK_TILE
    uint32_t warps;     // warps of a block that merge
} RankLists;

// rank_merge: one list from those of all parts.
typedef struct {
    const uint64_t *lists;  // [T, P, RANK_TILE, V, L] descending
    uint64_t *out;          // [count, stride] out: k candidates for each of the V rankings
    uint32_t count;
    uint32_t parts;
    uint32_t variants;
    uint32_t k;
    uint32_t length;
    uint32_t warps;   // lists of a block
    uint32_t stride;  // k for each ranking of all passes
    uint32_t unused;
} RankMerge;

#ifdef __cplusplus
static_assert(sizeof(RankGates) == 40, "RankGates");
static_assert(sizeof(RankPack) == 64, "RankPack");
static_assert(sizeof(RankSeen) == 16, "RankSeen");
static_assert(sizeof(RankLists) == 160, "RankLists");
static_assert(sizeof(RankMerge) == 48, "RankMerge");
static_assert(sizeof(SampleDraw) == 152, "SampleDraw");
static_assert(sizeof(SampleSide) == 64, "SampleSide");
static_assert(sizeof(SampleGroup) == 160, "SampleGroup");
#endif

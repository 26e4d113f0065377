// One struct of parameters per kernel: the only interface between Rust and CUDA. src/backend/cuda/params.rs mirrors it
// (tests/params.rs compares, and MACR_BLESS=1 rewrites it). Fixed-width types and pointers only; no includes but
// <stdint.h>. Shapes: S steps of a chunk, B rows of a full batch, U users, I items.
#pragma once
#include <stdint.h>

// Kinds of samplers.
#define SAMPLER_USER_UNIFORM 0
#define SAMPLER_INTERACTION 1

// Threads of a block, and shared memory apart from the samples' numbers.
#define SAMPLE_DRAW_THREADS 256
#define SAMPLE_GROUP_THREADS 1024
#define SAMPLE_GROUP_SHARED 32896

// all_pairs: threads of a block by kernel, and the most blocks of a list that partial results come from.
#define ALL_PAIRS_PARTIAL_THREADS 512
#define ALL_PAIRS_PARTS 32
#define ALL_PAIRS_EVALUATE_THREADS 1024
#define ALL_PAIRS_EPS_THREADS 256
// Samples of a list that a warp takes together where it sums term by term; most nodes of an interpolation.
#define ALL_PAIRS_TILE 4
#define ALL_PAIRS_NODES 192

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

// all_pairs_ranges, all_pairs_moments and all_pairs_evaluate, or all_pairs_eps alone. Rows of a [2, B] array are labels:
// positives (label 1), then negatives. There are four lists of values: the scores of both, then the gates of both.
typedef struct {
    const float *score;     // [2, B]
    const float *gate;      // [2, B]
    const uint32_t *rows;   // [1] rows n of this batch, at most B; what lies beyond them is left alone
    float *loss;            // [2, B] out: of each score with all gates
    float *score_gradient;  // [2, B] out
    float *gate_gradient;   // [2, B] out
    float *ranges;          // [4, parts, 2] least and greatest value of a part
    double *moments;        // [4, parts, NODES]
    double *intervals;      // [4, 2] centre and half-width of a list's interval
    uint32_t *nodes;        // [4] 0: more than NODES would be needed
    uint32_t batch;
    uint32_t parts;  // blocks of a list, at most PARTS
} AllPairsSums;

#ifdef __cplusplus
static_assert(sizeof(SampleDraw) == 152, "SampleDraw");
static_assert(sizeof(SampleSide) == 64, "SampleSide");
static_assert(sizeof(SampleGroup) == 160, "SampleGroup");
static_assert(sizeof(AllPairsSums) == 88, "AllPairsSums");
#endif

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

#ifdef __cplusplus
static_assert(sizeof(SampleDraw) == 152, "SampleDraw");
static_assert(sizeof(SampleSide) == 64, "SampleSide");
static_assert(sizeof(SampleGroup) == 160, "SampleGroup");
#endif

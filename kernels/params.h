// One struct of parameters per kernel: the only interface between Rust and CUDA. src/backend/cuda/params.rs mirrors it
// (tests/params.rs compares, and MACR_BLESS=1 rewrites it). Fixed-width types and pointers only; no includes but
// <stdint.h>. Shapes: S steps of a chunk, B rows of a full batch, U users, I items, D columns of a table, padded to W.
#pragma once
#include <stdint.h>

// Forms of penalties, with the strength of each; of `points`, what a sample's row is pulled to.
#define PENALTY_NONE 0
#define PENALTY_HALVES 1  // the row's other vector
#define PENALTY_DECAY 2   // zero, in proportion to the row's constant
#define PENALTY_ACROSS 3  // the mean of the other kind of rows
#define PENALTY_WITHIN 4  // the mean of its own kind

// Forms of parameters, where a kernel is not named after one.
#define FORM_F32 0
#define FORM_F16 1
#define FORM_BF16 2

// Kinds of samplers.
#define SAMPLER_USER_UNIFORM 0
#define SAMPLER_INTERACTION 1

// Full ranking: threads of a block, and blocks of a multiprocessor; users, and items, of a tile; components that are staged at once, and how many stages;
// rankings of one pass; longest list; sets of seen items; shared memory besides thresholds and lists.
#define RANK_THREADS 256
#define RANK_RESIDENT 2
#define RANK_TILE 128
#define RANK_SLICE 32
#define RANK_STAGES 3
#define RANK_VARIANTS 32
#define RANK_LONGEST 1024
#define RANK_SEEN 4
#define RANK_SHARED 50176

// Threads of a block, and shared memory apart from the samples' numbers.
#define SAMPLE_DRAW_THREADS 256
#define SAMPLE_GROUPS_THREADS 256
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

// expomf: threads of a block by kernel; rows and others of a tile of scores, and columns of one of normal matrices, whose
// rows are more; others, or components, that are staged at once; tries of a system, each with a larger ridge.
#define EXPOMF_THREADS 256
#define EXPOMF_TILE 64
#define EXPOMF_ROWS 128
#define EXPOMF_DEPTH 16
#define EXPOMF_SOLVE_THREADS 128
#define EXPOMF_ITEM_THREADS 128
#define EXPOMF_POSTERIOR_THREADS 1024
#define EXPOMF_TRIES 40

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
    const uint32_t *count;       // [I] interactions of each item; by margin only, as are the next two
    const uint32_t *order;       // [I] items by `count`, ascending; null: not by margin
    const uint32_t *fewer;       // [largest count + 2] items with fewer than so many interactions
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
    uint32_t per_positive;  // rows that share a positive, one after the other; B is a multiple
    uint32_t margin;        // in the first epoch
    uint32_t fewer_last;    // largest count + 1
    uint32_t unused;
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

// sample_groups_OBJECTIVE: which rows of the batches belong to the second group.
typedef struct {
    const uint32_t *rows;      // [S]
    const uint32_t *users;     // [S, B]
    const uint32_t *positives; // [S, B]
    const float *constants;    // [I]
    uint32_t *second;          // [S, ceil(B / 32)] out: a bit a row
    float *weight;             // [S, 2] out: 1 / rows of the first and the second group, 0 where there are none
    uint64_t seed;
    uint32_t batch;
    uint32_t unused;
} SampleGroups;

// rank_logits: what an item branch gives each item.
typedef struct {
    const float *items;   // [I, stride]
    const float *branch;  // [dim] w; with hidden units W1 [hidden, dim], b1 [hidden], w2 [hidden], b2
    double *logits;       // [I] out
    uint32_t count;       // I
    uint32_t dim;
    uint32_t stride;
    uint32_t hidden;  // 0: linear
} RankLogits;

// rank_pack: rows of a table in tiles of RANK_TILE rows, as f32 and rounded to bf16. T tiles.
typedef struct {
    const float *table;    // [rows, stride]
    const float *scale;    // [rows]; null: 1
    const uint32_t *rows;  // [count] which row; beyond the table: a row of zeros
    float *exact;          // [T, RANK_TILE, depth] out; zeros where there is no row or component
    uint16_t *packed;      // [T, depth / RANK_SLICE, RANK_TILE, RANK_SLICE] out; 16-byte pieces of a row exchanged
    float *norms;          // [T, RANK_TILE] out: no Euclidean norm of a row is larger
    uint32_t *largest;     // [1] raised to the bits of the largest magnitude in `exact`
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
    const uint16_t *users;     // [T, depth / RANK_SLICE, RANK_TILE, RANK_SLICE] as rank_pack rounds them
    const uint16_t *items;     // [J, depth / RANK_SLICE, RANK_TILE, RANK_SLICE]
    const float *user_rows;    // [T, RANK_TILE, depth]
    const float *item_rows;    // [J, RANK_TILE, depth]
    const float *user_norms;   // [T, RANK_TILE]
    const float *item_norms;   // [J, RANK_TILE]
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
    float error;        // no rounded product is off by more than this times the norms
    uint32_t unused;
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
// Threads of a block.
#define RULES_THREADS 256
#define EXPORT_THREADS 256
#define GATHER_THREADS 256
#define STEP_THREADS 256
#define APPLY_THREADS 256
#define PENALTY_THREADS 256
// Most blocks of penalty on either side: each has its own partial sums.
#define PENALTY_BLOCKS 64
// Gaps up to this have their own rule; beyond, the weights have ended.
#define LONGEST_GAP 256
// Most blocks of step: each has its own partial sums.
#define STEP_BLOCKS 512
// Parts that a loss is reported in, without L2.
#define LOSS_PARTS 3
// Most settings of an objective.
#define STEP_SETTINGS 3
// Places of a window, in which apply sums the samples of rows that have more than this.
#define APPLY_WINDOW 16

// Adam's constants, and what follows from them alone. `settled` is a step from which on all rates are the same.
typedef struct {
    const double *rate;  // [settled + 1] lr_t of step t, from 1
    const float *ended;  // [settled + 1, 4] weights and roots of a gap beyond LONGEST_GAP, by the step that touched last
    const float *decay;  // [LONGEST_GAP + 1, 2] b1^n and b2^n
    uint64_t settled;
    float beta1;
    float beta2;
    float epsilon;
    uint32_t replay;  // 1: missed steps one by one; 0: by rules
} Optimiser;

// A table with its optimiser state. Columns D..W are zero.
typedef struct {
    void *p;         // [rows, W] in the form that the kernel is named after
    float *m;        // [rows, W]
    float *v;        // [rows, W]
    uint64_t *last;  // [rows] step, from 1, that last touched the row; 0 before
    uint32_t noise[2];  // key of the random bits that p is rounded with
} Rows;

// rules
typedef struct {
    const uint64_t *step;  // [S] rows are brought to the state after so many steps
    float *weights;        // [S, LONGEST_GAP + 1, 4] out: two weights and two roots by gap
    Optimiser adam;
} Rules;

// export_W
typedef struct {
    const uint64_t *step;  // [1]
    const float *weights;  // [LONGEST_GAP + 1, 4]
    float *out;            // [rows, W]
    Rows table;
    Optimiser adam;
    uint32_t rows;
    uint32_t stride;  // W
} Export;

typedef struct {
    Rows table;
    const uint32_t *touched;  // [2B], of which `count`
    const uint32_t *starts;   // [2B + 1], of which `count` + 1
    const uint32_t *count;    // [1]
    const float *branch;      // [2, W] by parity of the step; null without a branch
    float *rows;              // [count, W] out: state before the step
    float *logit;             // [count] out; untouched without a branch
} GatherSide;

// gather_W
typedef struct {
    const uint64_t *step;  // [1] steps done
    const uint32_t *rows;  // [1] rows of the batch
    const float *weights;  // [LONGEST_GAP + 1, 4]
    double *l2_loss;       // [blocks] out
    GatherSide side[2];    // users, items
    Optimiser adam;
    float l2;
    uint32_t stride;      // W
    uint32_t item_block;  // first block of the items
    uint32_t batch;       // B
    uint32_t current;     // 1: the tables' rows are up to date, and no moments are read
    uint32_t filled;      // 1: `rows` is read: the final embeddings, which the branch scores
} Gather;

// step_OBJECTIVE_W
typedef struct {
    const uint32_t *rows;        // [1] rows of the batch, n
    const float *user_rows;      // [slots, W]
    const float *item_rows;      // [slots, W]
    const float *user_logit;     // [slots]; null without a branch
    const float *item_logit;     // [slots]; null without a branch
    const uint32_t *user_slot;   // [2B] by sample
    const uint32_t *item_slot;   // [2B] by sample: row r with its positive is sample r, with its negative n + r
    float *score;                // [2, B] all pairs: out
    float *gate;                 // [2, B] all pairs: out
    const float *sum_loss;       // [2, B] all pairs: the main loss
    const float *gate_gradient;  // [2, B] all pairs
    float *score_gradient;       // [2, B] out; all pairs: not touched
    float *item_gradient;        // [2, B] out
    float *user_gradient;        // [B] out
    float *branch_partial;       // [blocks, 2, W] out: gradients of the user's and the item's branch vector
    double *loss_partial;        // [blocks, LOSS_PARTS] out
    float setting[STEP_SETTINGS]; // the objective's, see kernels/objectives
    uint32_t batch;               // B
    uint32_t stride;              // W
    // What follows is for the objectives that have it.
    uint32_t part;                // columns of the first of two vectors
    uint32_t user_stride;         // W, or that of the one vector of a user's row
    uint32_t unused;
    const uint32_t *items[2];     // [B] each: positives and negatives
    const float *item_constants;  // [I]
    const float *item_bias;       // [I]
    const uint32_t *second;       // [ceil(B / 32)] a bit a row: in the second group
    const float *group_weight;    // [2]
    float *second_gradient;       // [2, B] out: dL/da of the second scores
    const uint64_t *step;         // [1] steps done
    uint64_t steps_per_epoch;
} Step;

// round_f16, round_bf16
typedef struct {
    float *values;   // [count] in, out: rounded to the nearest
    uint64_t count;  // a multiple of 4
} Round;

// Threads of a block; blocks of a side, each with a partial gradient; hidden units that are done at once.
#define BRANCH_THREADS 256
#define BRANCH_BLOCKS 128
#define BRANCH_UNITS 32

// A branch with kernels of its own. P parameters: W1 [hidden, W], b1 [hidden], w2 [hidden], b2; without hidden units
// w [W].
typedef struct {
    const float *rows;            // [count, W] that it scores
    const uint32_t *count;        // [1]
    const uint32_t *starts;       // [count + 1]
    const uint32_t *samples;      // [2n] by place
    const float *logit_gradient;  // [2, B], or [B] for the positives alone
    float *logit;                 // [count] out, forward
    float *dx;                    // [count, W] out, backward
    float *partial;               // [BRANCH_BLOCKS, P] out of backward
    float *values;                // [P]; null: no such branch
    float *m;                     // [P]
    float *v;                     // [P]
    uint32_t hidden;         // 0: linear
    uint32_t logit_samples;  // 1: logit_gradient is [B]; 2: [2, B]
} BranchSide;

// branch_forward_W, branch_backward_W, branch_update
typedef struct {
    const uint64_t *step;  // [1] steps done
    const uint32_t *rows;  // [1] rows of the batch, n
    BranchSide side[2];    // users, items
    Optimiser adam;
    uint32_t batch;       // B
    uint32_t stride;      // W
    uint32_t item_block;  // forward and update: first block of the items
    uint32_t unused;
} Branch;

typedef struct {
    const uint32_t *touched;  // [2B], of which `count`
    const uint32_t *starts;   // [2B + 1], of which `count` + 1
    const uint32_t *count;    // [1]
    const float *rows;        // [count, stride] final embeddings
    const float *constants;   // [rows of the table]; null: none
    float *pull;              // [2] out: coefficient of a row, or sample, whose constant is 0 and 1
    float *points;            // [2, stride] out: what it is pulled to; across and within only
    double *partial;          // [blocks, 2] sums of squares
    double *row_partial;      // [blocks, 2, stride] sums of rows; across and within only
    uint32_t *count_partial;  // [blocks, 2] samples
    uint32_t stride;
    uint32_t blocks;  // 0: no penalty on this side
} PenaltySide;

// penalty_W
typedef struct {
    const uint32_t *batch_rows;  // [1] rows of the batch
    uint32_t *arrived;           // [1] zero before and after
    double *losses;              // [LOSS_PARTS + 2] added to
    PenaltySide side[2];         // users, items
    float strength[2];
    uint32_t form;
    uint32_t part;   // columns of the first of two vectors
    uint32_t width;  // of which components
    uint32_t unused;
} Penalty;

typedef struct {
    Rows table;
    const uint32_t *touched;       // [2B], of which `count`
    const uint32_t *starts;        // [2B + 1], of which `count` + 1
    const uint32_t *samples;       // [2n] by place
    const uint32_t *slot;          // [2n] by sample
    const uint32_t *count;         // [1]
    const uint32_t *partner_slot;  // [2n] by sample, on the other side
    const float *own;              // [count, W]
    const float *partners;         // [., W]
    const float *logit_gradient;   // [2, B], or [B] for the positives alone; null without a branch
    float *partial;                // [windows, 2, W]
    float *partial_upstream;       // [windows, 2]
    uint32_t *arrived;             // [windows], zero before and after
    float *branch;                 // [2, W] by parity of the step; null without a branch
    float *branch_m;               // [W]
    float *branch_v;               // [W]
    const float *dx;               // [count, W] what a branch with a hidden layer adds; null without one
    float *gradient;               // [count, W] LightGCN: out, and no row moves; null otherwise
    uint32_t logit_samples;        // 1: logit_gradient is [B]; 2: [2, B]
    float l2;                      // L2 coefficient of a row with one sample, times the rows of the batch
} ApplySide;

// What apply_general_W has besides of one side.
typedef struct {
    const float *constants;   // [rows of the table]; null: none
    const float *pull;        // [2] of penalty
    const float *points;      // [2, stride] of penalty
    float *bias;              // [rows of the table]; null: none
    float *bias_m;            // [rows of the table]
    float *bias_v;            // [rows of the table]
    uint32_t stride;          // of this side's rows
    uint32_t partner_stride;  // of the other side's
    uint32_t penalty;         // its form
    uint32_t rows;            // of the table
} GeneralSide;

// apply_W and apply_general_W
typedef struct {
    const uint64_t *step;          // [1] steps done
    const uint32_t *rows;          // [1] rows of the batch, n
    const float *score_gradient;   // [2, B]
    const float *branch_partial;   // [step_blocks, 2, W]
    const double *loss_partial;    // [step_blocks, LOSS_PARTS]
    const double *l2_loss;         // [gather_blocks]
    double *losses;                // [LOSS_PARTS + 2] added to: parts, penalty, L2
    ApplySide side[2];             // users, items
    Optimiser adam;
    uint32_t batch;   // B
    uint32_t stride;  // W
    uint32_t step_blocks;
    uint32_t gather_blocks;
    // Block 0 reduces; then come windows of items, windows of users, slots of items, slots of users: first blocks.
    uint32_t user_windows;
    uint32_t item_slots;
    uint32_t user_slots;
    // What follows is apply_general_W's.
    uint32_t bias_block;           // first block of the biases, after all others
    const float *second_gradient;  // [2, B] dL/da of the second scores; null: rows have one vector
    GeneralSide general[2];
    uint32_t part;  // columns of the first of two vectors, or all
    uint32_t form;  // of the parameters
} Apply;

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

// Threads of a block.
#define METRICS_THREADS 256

// metrics: where the relevant items of users stand in their lists, and which items are listed. L relevant items.
typedef struct {
    const uint64_t *lists;    // [count, V, k] candidates, best first; zeros after the last
    const uint32_t *users;    // [count]
    const uint64_t *offsets;  // [U + 1] relevant items by user
    const uint32_t *items;    // [L] ascending within a user
    const uint32_t *cut;      // [cuts] ascending, the last is k
    uint16_t *ranks;          // [V, L] out: rank from 1 of each relevant item in its user's list; not in it: left alone
    uint32_t *listed;         // [V, cuts, I] in lists beyond the cut before, up to this cut; counted on
    uint64_t relevant;        // L
    uint32_t cuts;
    uint32_t count;
    uint32_t variants;
    uint32_t k;
    uint32_t item_count;  // I
    uint32_t unused;
} Metrics;

// Threads of a block.
#define DIVERGENCE_THREADS 256

// divergence_any
typedef struct {
    const uint32_t *words;  // [length]
    uint32_t *found;        // [1] out: 1 if a number is not finite, else as it was
    uint64_t length;
    uint32_t high, low;  // bits of the exponents
} Divergence;

// Threads of a block; columns of a row; rows that are summed.
#define CEILING_THREADS 256
#define CEILING_COLUMNS 64
#define CEILING_ROWS 32

// ceiling_copy
typedef struct {
    const float *from;  // [length]
    float *to;          // [length] out
    uint64_t length;    // a multiple of 4
} CeilingCopy;

// ceiling_gather
typedef struct {
    const float *table;   // [rows, CEILING_COLUMNS]
    const uint32_t *ids;  // [groups, CEILING_ROWS]
    float *sums;          // [groups, CEILING_COLUMNS] out
    uint64_t groups;
} CeilingGather;

// Threads of a block.
#define MARK_THREADS 256
#define SPMM_THREADS 256
#define GRAM_THREADS 128
// Edges of a unit at most: below 2^16.
#define SPMM_EDGES 256
// The slot of a row that is not in the batch, and the part of a unit that is a whole row.
#define NO_SLOT 0xffffffffu
// Rows of a block, and columns of G that it reads at once.
#define GRAM_ROWS 128
#define GRAM_DEPTH 16
#define GRAM_PRODUCT_THREADS 128
// Columns of the matrix that a block makes.
#define GRAM_PRODUCT_COLUMNS 2048

// What becomes of a row's sum: y = base + f sum, with f = s in spmm and 1 in gram.
typedef struct {
    const float *scale;      // [rows] s = 1 / sqrt(degree), 0 for a row without edges
    const uint32_t *slot;    // [rows] place among the batch's rows, NO_SLOT for others; null where none is asked for
    const void *stored_base; // [rows, W] in the form of the table; null: `base`
    const float *base;       // [rows, W], or [slots, W]; 0 where there is no slot
    float *out;              // [rows, W] or [slots, W] out: factor y; null: not wanted
    void *scaled;            // [rows, W] out: s y in the form of layers, null: not wanted; or s p of a row that has
                             // moved, in the form of the table
    Rows table;              // moves by Adam with gradient factor y and L2; p null: no row moves. `last` is not touched
    const uint64_t *step;    // [1] steps done
    const uint32_t *rows;    // [1] rows of the batch, n
    const uint32_t *starts;  // [slots + 1]
    const float *ego;        // [slots, W] added to the gradient; null: nothing
    Optimiser adam;
    float factor;
    float l2;  // L2 coefficient of a row with one sample, times n
    uint32_t base_by_slot;
    uint32_t out_by_slot;  // 1: and only rows that have a slot are summed
} Finish;

typedef struct {
    const uint32_t *touched;  // [count]
    const uint32_t *count;    // [1]
    uint32_t *slot;           // [rows] out
} MarkSide;

// mark
typedef struct {
    MarkSide side[2];     // users, items
    uint32_t item_block;  // first block of the items
    uint32_t set;         // 1: slots; 0: NO_SLOT
} Mark;

typedef struct {
    const uint32_t *units;   // [count, 4] row; edges, and from bit 16 on the first edge's upper word; its lower word; part
    const uint32_t *parts;   // [parts, 2] first part and number of parts of the row that a part belongs to
    const void *partners;    // [nnz] u16 or u32: row of the other side, by edge
    const void *x;           // [., W] in the form of layers; with x_slot f32
    const uint32_t *x_slot;  // [.] by partner: row of x, NO_SLOT: zero; null: the partner's row
    const float *x_scale;    // [.] by partner: factor of the row; only with x_slot
    float *partial;          // [parts, W]
    uint32_t *arrived;       // [parts] zero before and after
    Finish finish;
    uint32_t count;
    uint32_t narrow;  // 1: partners are u16
} SpmmSide;

// spmm_W
typedef struct {
    SpmmSide side[2];     // users, items
    uint32_t user_block;  // first block of the users: items come before them
    uint32_t stride;      // W
} Spmm;

// gram_N
typedef struct {
    const float *g;          // [I, pitch]
    const void *x;           // [I, W] scaled, in the form of the table; or [slots, W] f32
    const uint32_t *x_slot;  // [I] row of x of each item, NO_SLOT: zero; null: the item's
    const uint32_t *ids;     // [count] items whose rows are computed; null: all
    const uint32_t *count;   // [1] only with ids
    float *partial;          // [splits, most rows, W]; not used without a split
    uint32_t *arrived;       // [column tiles, row tiles] zero before and after
    Finish finish;
    uint32_t items;      // I
    uint32_t pitch;      // a multiple of GRAM_DEPTH; columns from I on are zero
    uint32_t stride;     // W
    uint32_t most_rows;  // of `partial`
} Gram;

// The rows of a side that rows of the other are connected to.
typedef struct {
    const uint64_t *offsets;  // [rows + 1]
    const void *partners;     // [nnz] u16 or u32: rows of the other side, distinct within a row
    const float *scale;       // [rows]
    uint32_t narrow;          // 1: partners are u16
    uint32_t padding;
} GramSide;

// gram_product
typedef struct {
    GramSide users;
    GramSide items;
    float *g;        // [I, pitch] out
    uint32_t pitch;  // columns from I on become zero
    uint32_t padding;
} GramProduct;

// The density of an unobserved pair.
typedef struct {
    float ln_c;
    float half;        // lambda_y / 2
    float ln_epsilon;  // of what is added to the density
    uint32_t epsilon;  // 1: something is
} ExpomfDensity;

// expomf_expose, expomf_sums: N rows of a side, M others
typedef struct {
    const float *own;          // [N, W]
    const float *other;        // [M, W]
    const float *own_logit;    // [N] ln(mu / (1 - mu)); null: the side is the users
    const float *other_logit;  // [M]; null: the others are
    float *exposure;           // [R, pitch] out: of the rows from `first` on, whole tiles; expose only
    double *sums;              // [spans, N, 2] out: of A and of the log likelihood; sums only
    ExpomfDensity density;
    uint32_t rows;    // N
    uint32_t others;  // M
    uint32_t first;   // expose only
    uint32_t pitch;   // M in whole tiles
    uint32_t stride;  // W
    uint32_t padding;
} ExpomfScores;

// expomf_mark
typedef struct {
    const uint64_t *offsets;    // [N + 1]
    const uint32_t *positives;  // [nnz] others
    float *exposure;            // [R, pitch]
    uint32_t first;
    uint32_t count;  // rows from `first` on
    uint32_t pitch;
    uint32_t padding;
} ExpomfMark;

// expomf_normal
typedef struct {
    const float *exposure;  // [R, pitch], R a multiple of EXPOMF_ROWS
    const float *other;     // [M, W]
    float *matrices;        // [R, columns] out
    uint32_t others;        // M
    uint32_t pitch;
    uint32_t columns;  // D (D + 1) / 2 in whole tiles
    uint32_t dim;      // D
    uint32_t stride;   // W
    uint32_t padding;
} ExpomfNormal;

// expomf_solve: a block a row; shared memory for (D + 1) (D + 2) / 2 + D numbers
typedef struct {
    const float *matrices;      // [R, columns]
    const float *other;         // [M, W]
    const uint64_t *offsets;    // [N + 1]
    const uint32_t *positives;  // [nnz] others
    float *table;               // [N, W] out: the rows from `first` on
    uint32_t *failed;           // [1] out: the first row without a solution
    float ridge;
    uint32_t first;
    uint32_t columns;
    uint32_t dim;     // D
    uint32_t stride;  // W
    uint32_t padding;
} ExpomfSolve;

// expomf_item: a block an item
typedef struct {
    const float *theta;        // [U, W]
    const float *beta;         // [I, W]
    const uint64_t *offsets;   // [I + 1]
    const uint32_t *users_of;  // [nnz]
    const double *sums;        // [spans, I, 2]
    float *mu;                 // [I] in and out
    float *logit;              // [I] in and out
    double *posterior;         // [I] out: the item's part of the log posterior, under the old mu
    double a0;
    double b0;
    double ln_c;
    ExpomfDensity density;
    uint32_t users;  // U
    uint32_t items;  // I
    uint32_t spans;
    uint32_t stride;  // W
} ExpomfItem;

// expomf_posterior: one block
typedef struct {
    const double *posterior;  // [I]
    const float *theta;       // [U, W]
    const float *beta;        // [I, W]
    const uint32_t *failed;   // [2] users, items
    double *out;              // [3] the log posterior, and `failed`
    double lambda_theta;
    double lambda_beta;
    uint32_t users;   // U
    uint32_t items;   // I
    uint32_t stride;  // W
    uint32_t padding;
} ExpomfPosterior;

#ifdef __cplusplus
static_assert(sizeof(RankLogits) == 40, "RankLogits");
static_assert(sizeof(Metrics) == 88, "Metrics");
static_assert(sizeof(RankPack) == 80, "RankPack");
static_assert(sizeof(ExpomfDensity) == 16, "ExpomfDensity");
static_assert(sizeof(ExpomfScores) == 88, "ExpomfScores");
static_assert(sizeof(ExpomfMark) == 40, "ExpomfMark");
static_assert(sizeof(ExpomfNormal) == 48, "ExpomfNormal");
static_assert(sizeof(ExpomfSolve) == 72, "ExpomfSolve");
static_assert(sizeof(ExpomfItem) == 120, "ExpomfItem");
static_assert(sizeof(ExpomfPosterior) == 72, "ExpomfPosterior");
static_assert(sizeof(RankSeen) == 16, "RankSeen");
static_assert(sizeof(RankLists) == 200, "RankLists");
static_assert(sizeof(RankMerge) == 48, "RankMerge");
static_assert(sizeof(CeilingCopy) == 24, "CeilingCopy");
static_assert(sizeof(CeilingGather) == 32, "CeilingGather");
static_assert(sizeof(SampleDraw) == 192, "SampleDraw");
static_assert(sizeof(SampleSide) == 64, "SampleSide");
static_assert(sizeof(SampleGroup) == 160, "SampleGroup");
static_assert(sizeof(SampleGroups) == 64, "SampleGroups");
static_assert(sizeof(PenaltySide) == 88, "PenaltySide");
static_assert(sizeof(Penalty) == 224, "Penalty");
static_assert(sizeof(GeneralSide) == 64, "GeneralSide");
static_assert(sizeof(Optimiser) == 48, "Optimiser");
static_assert(sizeof(Rows) == 40, "Rows");
static_assert(sizeof(Rules) == 64, "Rules");
static_assert(sizeof(Export) == 120, "Export");
static_assert(sizeof(GatherSide) == 88, "GatherSide");
static_assert(sizeof(Gather) == 280, "Gather");
static_assert(sizeof(Step) == 232, "Step");
static_assert(sizeof(BranchSide) == 96, "BranchSide");
static_assert(sizeof(Branch) == 272, "Branch");
static_assert(sizeof(ApplySide) == 184, "ApplySide");
static_assert(sizeof(Apply) == 648, "Apply");
static_assert(sizeof(Finish) == 184, "Finish");
static_assert(sizeof(Round) == 16, "Round");
static_assert(sizeof(MarkSide) == 24, "MarkSide");
static_assert(sizeof(Mark) == 56, "Mark");
static_assert(sizeof(SpmmSide) == 256, "SpmmSide");
static_assert(sizeof(Spmm) == 520, "Spmm");
static_assert(sizeof(Gram) == 256, "Gram");
static_assert(sizeof(GramSide) == 32, "GramSide");
static_assert(sizeof(GramProduct) == 80, "GramProduct");
static_assert(sizeof(AllPairsSums) == 88, "AllPairsSums");
#endif

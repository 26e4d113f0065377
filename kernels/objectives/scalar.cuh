// Elementary functions of the scalar stages, and what a stage reads and writes.
#pragma once
#include "../common.cuh"

// The scalars of one row of a batch. Index 0 is its positive sample, 1 its negative.
struct Scalars {
    float weight;            // in: 1 / n
    float score[2];          // in: match scores a = p_u . q_i
    float user_logit;        // in: y_u
    float item_logit[2];     // in: y_i
    float second_score[2];   // in, divided rows: match scores of the second vectors
    float item_constant[2];  // in, with constants
    bool second_group;       // in, grouped
    float group_weight;      // in, grouped: 1 / rows of the row's group
    float gate_gradient[2];  // in, all pairs: dL/dg
    float score_gradient[2]; // out: dL/da
    float second_gradient[2];  // out, divided rows: dL/da of the second scores
    float user_gradient;     // out: dL/dy_u, both samples together
    float item_gradient[2];  // out: dL/dy_i
    float loss[LOSS_PARTS];  // out, weighted. All pairs: the main part is set before
};

// What an objective needs of step, unless it says otherwise.
struct Needs {
    static constexpr bool BRANCHES = false;   // linear branches of users and items
    static constexpr bool BIAS = false;       // item biases, as item logits
    static constexpr bool CONSTANTS = false;  // item constants
    static constexpr bool DIVIDED = false;    // rows of two vectors
    static constexpr bool GROUPED = false;    // two groups of rows
};

struct LossSlope {
    float loss, slope;
};

// Binary cross-entropy of logit z with label y, and its derivative.
DEVICE LossSlope bce(float z, float y) {
    const float t = expf(-fabsf(z)), upper = 1.0f / (1.0f + t);
    const float sigma = z >= 0.0f ? upper : t * upper;
    return {fmaxf(z, 0.0f) + log1pf(t) - y * z, sigma - y};
}

// The reference code's: -log(sigma + e), or -log(1 - sigma + e), rounded in f32 as there.
DEVICE LossSlope bce_eps(float z, float y, float e) {
    const float s = sigmoid(z), one_minus = 1.0f - s;
    const float p = (y > 0.5f ? s : one_minus) + e, slope = s * one_minus / p;
    return {-logf(p), y > 0.5f ? -slope : slope};
}

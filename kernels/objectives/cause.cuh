// L = BCE of the control rows with their first vectors + BCE of the treatment rows with their second ones, each averaged
// over its own rows; see src/objective/cause.rs.
#pragma once
#include "bce.cuh"

struct Cause : Needs {
    static constexpr bool DIVIDED = true, GROUPED = true;
    Bce bce;

    DEVICE explicit Cause(const Step &p) : bce(p) {}

    // True if an interaction is treatment: so with the item's probability, and in every step alike.
    static DEVICE bool second_group(uint32_t user, uint32_t item, float probability, uint2 key) {
        constexpr uint32_t TAG = 0x54525400;
        const uint32_t word = philox(make_uint4(user, item, 0, TAG), key).x;
        return float(word >> 8) / 16777216.0f < probability;
    }

    DEVICE void stage(Scalars &s) const {
        float loss = 0.0f;
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            const float score = s.second_group ? s.second_score[k] : s.score[k];
            const LossSlope t = bce.term(score, k == 0 ? 1.0f : 0.0f);
            loss += t.loss * s.group_weight;
            s.score_gradient[k] = s.second_group ? 0.0f : t.slope * s.group_weight;
            s.second_gradient[k] = s.second_group ? t.slope * s.group_weight : 0.0f;
        }
        s.loss[0] = s.second_group ? 0.0f : loss;
        s.loss[1] = s.second_group ? loss : 0.0f;
    }
};

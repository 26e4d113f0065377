// L = 1/n sum_r [main + l_int m softplus(-X) + l_pop (m softplus(Y) + (1 - m) softplus(-Y))] with X and Y the differences
// of the scores by the first and by the second halves, m = 1 where the negative is the more popular item, and main either
// softplus(-X - Y) or the cross-entropy of the scores by both halves; see src/objective/dice.rs.
#pragma once
#include "scalar.cuh"

struct Dice : Needs {
    static constexpr bool DIVIDED = true, CONSTANTS = true;
    // Factor of the two weights from epoch to epoch.
    static constexpr double DECAY = 0.9;
    float lambda_int, lambda_pop;
    bool pointwise;

    // Settings: lambda_int, lambda_pop, 1 for the cross-entropy.
    DEVICE explicit Dice(const Step &p) : pointwise(p.setting[2] != 0.0f) {
        const float decay = float(power(DECAY, *p.step / p.steps_per_epoch));
        lambda_int = p.setting[0] * decay;
        lambda_pop = p.setting[1] * decay;
    }

    DEVICE void stage(Scalars &s) const {
        const bool more_popular = s.item_constant[1] > s.item_constant[0];
        const float x = s.score[0] - s.score[1], y = s.second_score[0] - s.second_score[1];
        const float interest_weight = more_popular ? lambda_int : 0.0f;
        const LossSlope interest = bce(x, 1.0f), conformity = bce(y, more_popular ? 0.0f : 1.0f);
        LossSlope main[2];
        if (pointwise) {
            UNROLL
            for (unsigned k = 0; k < 2; k++) main[k] = bce(s.score[k] + s.second_score[k], k == 0 ? 1.0f : 0.0f);
        } else {
            main[0] = bce(x + y, 1.0f);
            main[1] = {0.0f, -main[0].slope};
        }
        s.loss[0] = (main[0].loss + main[1].loss) * s.weight;
        s.loss[1] = interest_weight * interest.loss * s.weight;
        s.loss[2] = lambda_pop * conformity.loss * s.weight;
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            const float sign = k == 0 ? 1.0f : -1.0f;
            s.score_gradient[k] = (main[k].slope + sign * interest_weight * interest.slope) * s.weight;
            s.second_gradient[k] = (main[k].slope + sign * lambda_pop * conformity.slope) * s.weight;
        }
    }
};

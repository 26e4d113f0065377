// L = 1/n sum_r [softplus(-X - Y) + l_int m softplus(-X) + l_pop (m softplus(Y) + (1 - m) softplus(-Y))] with X and Y the
// differences of the scores by the first and by the second halves, and m = 1 where the negative is the more popular item;
// see src/objective/dice.rs.
#pragma once
#include "scalar.cuh"

struct Dice : Needs {
    static constexpr bool DIVIDED = true, CONSTANTS = true;
    // Factor of the two weights from epoch to epoch.
    static constexpr double DECAY = 0.9;
    float lambda_int, lambda_pop;

    DEVICE explicit Dice(const Step &p) {
        const float decay = float(power(DECAY, *p.step / p.steps_per_epoch));
        lambda_int = p.lambda_int * decay;
        lambda_pop = p.lambda_pop * decay;
    }

    DEVICE void stage(Scalars &s) const {
        const bool more_popular = s.item_constant[1] > s.item_constant[0];
        const float x = s.score[0] - s.score[1], y = s.second_score[0] - s.second_score[1];
        const float interest_weight = more_popular ? lambda_int : 0.0f;
        const LossSlope main = bce(x + y, 1.0f), interest = bce(x, 1.0f);
        const LossSlope conformity = bce(y, more_popular ? 0.0f : 1.0f);
        s.loss[0] = main.loss * s.weight;
        s.loss[1] = interest_weight * interest.loss * s.weight;
        s.loss[2] = lambda_pop * conformity.loss * s.weight;
        s.score_gradient[0] = (main.slope + interest_weight * interest.slope) * s.weight;
        s.second_gradient[0] = (main.slope + lambda_pop * conformity.slope) * s.weight;
        s.score_gradient[1] = -s.score_gradient[0];
        s.second_gradient[1] = -s.second_gradient[0];
    }
};

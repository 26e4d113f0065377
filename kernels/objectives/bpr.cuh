// L = 1/n sum_r softplus(-(a+_r - a-_r)); see src/objective/bpr.rs.
#pragma once
#include "scalar.cuh"

struct Bpr : Needs {
    DEVICE explicit Bpr(const Step &) {}

    DEVICE void stage(Scalars &s) const {
        const LossSlope main = bce(s.score[0] - s.score[1], 1.0f);
        s.loss[0] = main.loss * s.weight;
        s.score_gradient[0] = main.slope * s.weight;
        s.score_gradient[1] = -main.slope * s.weight;
    }
};

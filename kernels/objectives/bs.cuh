// L = 1/n sum_r [softplus(-z+_r) + softplus(z-_r)], z = a + b_i; see src/objective/bs.rs.
#pragma once
#include "bce.cuh"

struct Bs : Needs {
    static constexpr bool BIAS = true;
    Bce bce;

    DEVICE explicit Bs(const Step &p) : bce(p) {}

    DEVICE void stage(Scalars &s) const {
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            const LossSlope t = bce.term(s.score[k] + s.item_logit[k], k == 0 ? 1.0f : 0.0f);
            s.loss[0] += t.loss * s.weight;
            s.score_gradient[k] = s.item_gradient[k] = t.slope * s.weight;
        }
    }
};

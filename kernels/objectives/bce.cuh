// L = 1/n sum_r [softplus(-a+_r) + softplus(a-_r)]; see src/objective/bce.rs.
#pragma once
#include "scalar.cuh"

struct Bce : Needs {
    bool eps_compat;

    // Settings: eps_compat. Objectives that hold this have it first.
    DEVICE explicit Bce(const Step &p) : eps_compat(p.setting[0] != 0.0f) {}

    DEVICE LossSlope term(float z, float y) const { return eps_compat ? bce_eps(z, y, 1e-9f) : bce(z, y); }

    DEVICE void stage(Scalars &s) const {
        const LossSlope positive = term(s.score[0], 1.0f), negative = term(s.score[1], 0.0f);
        s.loss[0] = (positive.loss + negative.loss) * s.weight;
        s.score_gradient[0] = positive.slope * s.weight;
        s.score_gradient[1] = negative.slope * s.weight;
    }
};

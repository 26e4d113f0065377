// L = L_O + alpha L_I + beta L_U with gates g = sigma(y_i) sigma(y_u); see src/objective/macr.rs. A branch that is not
// there has gate 1 and no loss.
#pragma once
#include "scalar.cuh"

// With ALL_PAIRS the main loss and its derivatives come from sums over all pairs of the batch.
template <bool ALL_PAIRS> struct Macr : Needs {
    static constexpr bool BRANCHES = true;
    float alpha, beta;
    bool user_branch, item_branch, eps_compat;

    // Settings: alpha, beta, eps_compat.
    DEVICE explicit Macr(const Step &p)
        : alpha(p.setting[0]), beta(p.setting[1]), user_branch(p.user_logit != nullptr),
          item_branch(p.item_logit != nullptr), eps_compat(p.setting[2] != 0.0f) {}

    DEVICE LossSlope term(float z, float y) const { return eps_compat ? bce_eps(z, y, 1e-10f) : bce(z, y); }
    DEVICE float user(const Scalars &s) const { return user_branch ? sigmoid(s.user_logit) : 1.0f; }
    DEVICE float item(const Scalars &s, unsigned k) const { return item_branch ? sigmoid(s.item_logit[k]) : 1.0f; }
    DEVICE float gate(const Scalars &s, unsigned k) const { return user(s) * item(s, k); }

    DEVICE void stage(Scalars &s) const {
        const float w = s.weight, of_user = user(s);
        float main = 0.0f;
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            const float y = k == 0 ? 1.0f : 0.0f, of_item = item(s, k), g = of_user * of_item;
            float gate_gradient;
            if constexpr (ALL_PAIRS) {
                gate_gradient = s.gate_gradient[k];
            } else {
                const float a = s.score[k];
                const LossSlope o = term(a * g, y);
                main += o.loss * w;
                s.score_gradient[k] = o.slope * g * w;
                gate_gradient = o.slope * a * w;
            }
            if (item_branch) {
                const LossSlope i = term(s.item_logit[k], y);
                s.loss[1] += alpha * i.loss * w;
                s.item_gradient[k] = gate_gradient * g * (1.0f - of_item) + alpha * i.slope * w;
            }
            if (user_branch) {
                const LossSlope u = term(s.user_logit, y);
                s.loss[2] += beta * u.loss * w;
                s.user_gradient += gate_gradient * g * (1.0f - of_user) + beta * u.slope * w;
            }
        }
        if constexpr (!ALL_PAIRS) s.loss[0] = main;
    }
};

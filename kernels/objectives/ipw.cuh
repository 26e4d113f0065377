// L = 1/n sum_r [w+_r softplus(-a+_r) + w-_r softplus(a-_r)], w from the items' constants; see src/objective/ipw.rs.
#pragma once
#include "bce.cuh"

struct Ipw : Needs {
    static constexpr bool CONSTANTS = true;
    // Whose weight a sample has: IpwScope in src/objective/ipw.rs.
    enum Scope { PAIR, POSITIVE, OWN };
    Bce bce;
    Scope scope;

    // Settings: eps_compat, scope.
    DEVICE explicit Ipw(const Step &p) : bce(p), scope(Scope(p.setting[1])) {}

    DEVICE void stage(Scalars &s) const {
        const float own = scope == OWN ? s.item_constant[1] : 1.0f;
        const float weight[2] = {s.item_constant[0] * s.weight,
                                 (scope == PAIR ? s.item_constant[0] : own) * s.weight};
        UNROLL
        for (unsigned k = 0; k < 2; k++) {
            const LossSlope t = bce.term(s.score[k], k == 0 ? 1.0f : 0.0f);
            s.loss[0] += t.loss * weight[k];
            s.score_gradient[k] = t.slope * weight[k];
        }
    }
};

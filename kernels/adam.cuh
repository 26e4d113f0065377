// Adam with dense semantics at the cost of the touched rows; src/optim.rs says how.
//
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr_t m / (sqrt(v) + eps)
//
// The operations and their order are those of the CPU, so both round alike.
#pragma once
#include "rows.cuh"

namespace adam {

// Missed steps of a row. One that was never touched has no moments, and so has missed nothing.
DEVICE uint64_t missed(uint64_t last, uint64_t now) { return last == 0 ? 0 : now - last; }

DEVICE float rate(const Optimiser &o, uint64_t step) { return float(o.rate[min(step, o.settled)]); }

// Turns the parameters of a row into those of the state after step `now`.
template <unsigned WIDTH>
DEVICE void catch_up(const Optimiser &o, const float *weights, uint64_t last, uint64_t now, Row<WIDTH> &p,
                     const Row<WIDTH> &m, const Row<WIDTH> &v) {
    const uint64_t n = missed(last, now);
    if (o.replay) {
        UNROLL
        for (unsigned j = 0; j < Row<WIDTH>::N; j++) {
            float pj = p.x[j], mj = m.x[j], vj = v.x[j];
            for (uint64_t t = last + 1; t <= last + n; t++) {
                mj = o.beta1 * mj;
                vj = o.beta2 * vj;
                pj = pj - rate(o, t) * mj / (sqrtf(vj) + o.epsilon);
            }
            p.x[j] = pj;
        }
        return;
    }
    // Weights w0, w1 and roots r0, r1: p - m (w0 / (s r0 + eps) + w1 / (s r1 + eps)) with s = sqrt(v).
    const float4 rule = load4(n <= LONGEST_GAP ? weights + 4 * n : o.ended + 4 * min(last, o.settled));
    UNROLL
    for (unsigned j = 0; j < Row<WIDTH>::N; j++) {
        const float s = sqrtf(v.x[j]), d0 = fmaf(s, rule.z, o.epsilon), d1 = fmaf(s, rule.w, o.epsilon);
        p.x[j] = p.x[j] - m.x[j] * fmaf(rule.x, d1, rule.y * d0) / (d0 * d1);
    }
}

// The moments of a row after the steps that it has missed.
template <unsigned WIDTH>
DEVICE void decay(const Optimiser &o, uint64_t last, uint64_t now, Row<WIDTH> &m, Row<WIDTH> &v) {
    const uint64_t n = missed(last, now);
    if (o.replay) {
        for (uint64_t k = 0; k < n; k++) {
            UNROLL
            for (unsigned j = 0; j < Row<WIDTH>::N; j++) m.x[j] *= o.beta1, v.x[j] *= o.beta2;
        }
        return;
    }
    float decay1, decay2;
    if (n <= LONGEST_GAP) {
        decay1 = o.decay[2 * n], decay2 = o.decay[2 * n + 1];
    } else {
        // A first moment that would leave the normal numbers is as good as zero, as on the CPU.
        const double d1 = power(double(o.beta1), n);
        decay1 = d1 < 1e-25 ? 0.0f : float(d1);
        decay2 = float(power(double(o.beta2), n));
    }
    UNROLL
    for (unsigned j = 0; j < Row<WIDTH>::N; j++) m.x[j] *= decay1, v.x[j] *= decay2;
}

// One step of one element.
DEVICE void step(const Optimiser &o, float rate, float g, float &p, float &m, float &v) {
    m = fmaf(o.beta1, m, (1.0f - o.beta1) * g);
    v = fmaf(o.beta2, v, (1.0f - o.beta2) * g * g);
    p = p - rate * m / (sqrtf(v) + o.epsilon);
}

}  // namespace adam

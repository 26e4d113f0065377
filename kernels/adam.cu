// adam: how rows that steps have not touched are brought up to date.
//
// rules      for each of S consecutive steps and each gap n of 1..256 missed steps, the Gauss rule of two nodes for the
//            weights w_k = lr_{last + k} b1^k, k = 1..n, last = now - n (src/optim.rs): two weights, and b2^(x/2) at the
//            two nodes x, [S, 257, 4]. One block a step, one thread a gap; the moments of the weights are summed term by
//            term in f64, from rates in shared memory. Reads 2 KB and writes 4 KB a step.
// export_W   a copy of a table with every row in the state after step `now`, [rows, W] in f32; the table itself is only
//            read. One group of lanes a row. Moves 16 W bytes a row, 14 W where parameters have 16 bits.
//
// Deterministic: no thread depends on another, and every sum has one order.
#include "adam.cuh"

KERNEL(rules, Rules p, RULES_THREADS) {
    static_assert(RULES_THREADS == LONGEST_GAP, "a thread a gap");
    __shared__ double rates[LONGEST_GAP];  // of the last steps up to `now`
    const uint64_t now = p.step[blockIdx.x];
    const uint32_t n = threadIdx.x + 1;
    rates[LONGEST_GAP - n] = n <= now ? p.adam.rate[min(now - n + 1, p.adam.settled)] : 0.0;
    __syncthreads();

    float *out = p.weights + uint64_t(blockIdx.x) * (LONGEST_GAP + 1) * 4;
    if (n == 1) store4(out, make_float4(0.0f, 0.0f, 1.0f, 1.0f));
    if (n > now) return store4(out + 4 * n, make_float4(0.0f, 0.0f, 1.0f, 1.0f));
    double m0 = 0.0, m1 = 0.0, m2 = 0.0, m3 = 0.0, decay = 1.0;
    for (uint32_t k = 1; k <= n; k++) {
        decay *= double(p.adam.beta1);
        const double x = k, w = rates[LONGEST_GAP - n + k - 1] * decay;
        m0 += w;
        m1 += w * x;
        m2 += w * x * x;
        m3 += w * x * x * x;
    }
    const double mean = m1 / m0, variance = m2 / m0 - mean * mean;
    double low = mean, high = mean, weight_low = m0, weight_high = 0.0;
    if (n > 1 && variance > 0.0) {
        const double third = m3 / m0 - 3.0 * mean * m2 / m0 + 2.0 * mean * mean * mean;
        const double skew = third / (2.0 * variance), spread = sqrt(skew * skew + variance);
        low = mean + (skew - spread);
        high = mean + (skew + spread);
        weight_low = m0 * (skew + spread) / (2.0 * spread);
        weight_high = -m0 * (skew - spread) / (2.0 * spread);
    }
    const double half_log = 0.5 * log(double(p.adam.beta2));
    store4(out + 4 * n, make_float4(float(weight_low), float(weight_high), float(exp(half_log * low)),
                                    float(exp(half_log * high))));
}

namespace adam {

template <class T, unsigned WIDTH> DEVICE void run(const Export &p) {
    using R = Row<WIDTH>;
    const uint64_t row = uint64_t(blockIdx.x) * (EXPORT_THREADS / R::G) + threadIdx.x / R::G;
    if (row >= p.rows) return;
    const uint64_t at = row * p.stride;
    R own = R::load(static_cast<const T *>(p.table.p) + at, p.stride);
    const R m = R::load(p.table.m + at, p.stride), v = R::load(p.table.v + at, p.stride);
    catch_up(p.adam, p.weights, p.table.last[row], *p.step, own, m, v);
    own.store(p.out + at, p.stride);
}

}  // namespace adam

#define EXPORT(NAME, T, W) \
    KERNEL(export_##NAME##W, Export p, EXPORT_THREADS) { adam::run<T, W>(p); }
EVERY_TABLE(EXPORT)
#undef EXPORT

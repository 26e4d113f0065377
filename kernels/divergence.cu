// divergence: whether a number of a table is no longer finite.
//
//   found = 1 if for any i < length: (words[i] & high) == high or (words[i] & low) == low
//
// words: [length], a number of 32 bits or two of 16 each; a number is infinite or none if all bits of its exponent are
// set, which `high` and `low` are of the upper and the lower number (of 32 bits both the same).
//
// A thread looks at every word that is as many threads further on; 4 bytes a word in.
//
// Deterministic: whoever writes writes the same.
#include "common.cuh"

namespace divergence {

DEVICE bool bad(const Divergence &p, uint32_t word) { return (word & p.high) == p.high || (word & p.low) == p.low; }

DEVICE void look(const Divergence &p) {
    bool any = false;
    const uint64_t stride = uint64_t(gridDim.x) * DIVERGENCE_THREADS;
    for (uint64_t i = uint64_t(blockIdx.x) * DIVERGENCE_THREADS + threadIdx.x; i < p.length; i += stride) {
        any |= bad(p, p.words[i]);
    }
    if (any) *p.found = 1;
}

}  // namespace divergence

KERNEL(divergence_any, Divergence p, DIVERGENCE_THREADS) { divergence::look(p); }

// metrics: where the relevant items of users stand in their lists, and how often each item is listed.
//
//   ranks[v, j] = rank from 1 of relevant item j in its user's list under ranking v; 0 before, and left so otherwise
//   listed[v, c, i] += 1 for every list of v that has item i at a rank beyond cut c - 1 and up to cut c
//
// Every metric of src/eval/metric is a function of these: lists stay on the device.
//
// One warp a list, one lane a candidate: a binary search among the user's relevant items, which stay in the cache, and
// an integer atomic. Reads 8 B a candidate, writes 2 B a hit.
//
// Deterministic: a relevant item is one user's, and is in a list once; sums of integers are the same in any order.
#include "common.cuh"

KERNEL(metrics, Metrics p, METRICS_THREADS) {
    const uint64_t which = uint64_t(blockIdx.x) * (METRICS_THREADS / WARP) + warp_id();
    if (which >= uint64_t(p.count) * p.variants) return;
    const uint32_t v = uint32_t(which % p.variants), user = p.users[which / p.variants];
    const uint64_t begin = p.offsets[user], end = p.offsets[user + 1];
    const uint64_t *list = p.lists + which * p.k;
    for (uint32_t at = lane_id(); at < p.k; at += WARP) {
        const uint64_t candidate = list[at];
        if (candidate == 0) break;
        const uint32_t item = ~uint32_t(candidate);
        uint32_t cut = 0;
        while (p.cut[cut] <= at) cut++;
        atomicAdd(p.listed + (uint64_t(v) * p.cuts + cut) * p.item_count + item, 1u);
        uint64_t low = begin, high = end;
        while (low < high) {
            const uint64_t middle = low + (high - low) / 2;
            if (p.items[middle] < item) low = middle + 1;
            else high = middle;
        }
        if (low < end && p.items[low] == item) p.ranks[v * p.relevant + low] = uint16_t(at + 1);
    }
}

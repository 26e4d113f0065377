// spmm: one half of a layer of LightGCN's propagation for users, items or both: rows of one side from the other's.
//
//   y[r] = base[r] + s[r] sum over neighbours j of r of x[j],  x[j] = s[j] y[j] of the layer before,  s = 1/sqrt(degree)
//
// and from y (propagation.cuh): s y, which the next layer sums; y/(L+1) of the batch's rows, by slot; or Adam on the
// table's row, with y/(L+1) as its gradient, and its new parameters times s. The first backward layer sums the batch's
// gradients instead: x[j] = x_scale[j] gradient[x_slot[j]], and zero for a row that has no slot.
// mark: slot[touched[k]] = k for the rows of the batch, and NO_SLOT again when the step is done; one thread a slot.
//
// Edges have no values: both factors are applied to rows. A neighbour's number takes 2 bytes where that side has no more
// than 2^16 rows. The host cuts the rows once into units, whole rows of at most SPMM_EDGES edges and parts of longer
// ones, and sorts them by their number of edges, longest first, so that the groups of a warp have equal work. One group
// of lanes a unit: its lanes read G numbers at once, then all of them read up to eight rows at once. The group that
// arrives last at a longer row, by a count in device memory, adds the parts in their order and finishes the row. Where
// only the batch's rows are asked for, the units of others end at once.
//
// Moves 4 W + 2 or 4 bytes an edge, from the second-level cache where x fits, and 16 bytes a unit; out of memory a row
// takes 4 W in and 4 W out, with Adam 12 W in and 16 W out. Where tables and layers have 16 bits, 2 W + 2 or 4 bytes an
// edge, 2 W in and 2 W out, with Adam 10 W in and 12 W out. W additions an edge, in f32.
//
// Deterministic: who finishes a longer row depends on timing, what is added in which order does not. No floating-point
// atomics; nobody waits for another block.
#include "propagation.cuh"

namespace spmm {

// Sum of the rows of x of `edges` <= SPMM_EDGES edges from `begin` on; `edges` may differ between the groups of a warp,
// which all take part.
template <class X, unsigned WIDTH>
DEVICE Row<WIDTH> sum_edges(const SpmmSide &side, uint32_t stride, uint64_t begin, uint32_t edges) {
    using R = Row<WIDTH>;
    constexpr uint32_t WANTED = R::V < 8 ? 8 / R::V : 1, AT_ONCE = WANTED < R::G ? WANTED : R::G;
    // Rows of the batch take the registers of f32 whatever X is, and those of 16 bits have fewer to spare.
    constexpr uint32_t OF_BATCH = sizeof(X) < sizeof(float) && AT_ONCE > 4 ? 4 : AT_ONCE;
    const bool sparse = side.x_slot != nullptr;
    const auto partner = [&](uint32_t k) -> uint32_t {
        if (k >= edges) return NO_SLOT;
        return side.narrow ? static_cast<const uint16_t *>(side.partners)[begin + k]
                           : static_cast<const uint32_t *>(side.partners)[begin + k];
    };
    R sum = R::zero();
    uint32_t next = partner(R::lane());
    for (uint32_t first = 0; __any_sync(ALL_LANES, first < edges); first += R::G) {
        const uint32_t mine = next;
        next = partner(first + R::G + R::lane());
        if (!sparse) {
            for (uint32_t k = 0; k < R::G; k += AT_ONCE) {
                if (k > 0 && !__any_sync(ALL_LANES, first + k < edges)) break;
                Fetched<X, WIDTH> rows[AT_ONCE];
                UNROLL
                for (uint32_t i = 0; i < AT_ONCE; i++) {
                    const uint64_t row = __shfl_sync(ALL_LANES, mine, k + i, R::G);
                    const X *from = static_cast<const X *>(side.x) + row * stride;
                    rows[i] = Fetched<X, WIDTH>::load(from, stride, first + k + i < edges);
                }
                UNROLL
                for (uint32_t i = 0; i < AT_ONCE; i++) rows[i].add_to(sum);
            }
            continue;
        }
        const uint32_t slot = mine != NO_SLOT ? side.x_slot[mine] : NO_SLOT;
        const float scale = slot != NO_SLOT ? side.x_scale[mine] : 0.0f;
        // Lanes of this group whose neighbour is in the batch.
        uint32_t left = (__ballot_sync(ALL_LANES, slot != NO_SLOT) & R::mask()) >> (lane_id() / R::G * R::G);
        while (__any_sync(ALL_LANES, left != 0)) {
            float scales[OF_BATCH];
            R rows[OF_BATCH];
            UNROLL
            for (uint32_t i = 0; i < OF_BATCH; i++) {
                const bool wanted = left != 0;
                const int lane = wanted ? __ffs(int(left)) - 1 : 0;
                left &= left - 1;
                const uint64_t row = __shfl_sync(ALL_LANES, slot, lane, R::G);
                scales[i] = __shfl_sync(ALL_LANES, scale, lane, R::G);
                rows[i] = R::load(static_cast<const float *>(side.x) + row * stride, stride, wanted);
            }
            UNROLL
            for (uint32_t i = 0; i < OF_BATCH; i++) sum.add(scales[i], rows[i]);
        }
    }
    return sum;
}

template <class T, class X, unsigned WIDTH> DEVICE void run(const Spmm &p) {
    using R = Row<WIDTH>;
    constexpr uint32_t GROUPS = SPMM_THREADS / R::G;
    const bool items = blockIdx.x < p.user_block;
    const SpmmSide &side = p.side[items];
    const uint32_t index = (blockIdx.x - (items ? 0 : p.user_block)) * GROUPS + threadIdx.x / R::G;
    const bool inside = index < side.count;
    const uint4 unit = inside ? *reinterpret_cast<const uint4 *>(side.units + 4 * uint64_t(index))
                              : make_uint4(0, 0, 0, NO_SLOT);
    const uint32_t row = unit.x, part = unit.w, slot = inside ? propagation::slot_of(side.finish, row) : NO_SLOT;
    const bool wanted = inside && !(side.finish.out_by_slot && slot == NO_SLOT);
    if (!__any_sync(ALL_LANES, wanted)) return;
    const uint64_t begin = uint64_t(unit.y >> 16) << 32 | unit.z;
    R sum = sum_edges<X, WIDTH>(side, p.stride, begin, wanted ? unit.y & 0xffff : 0);
    if (!wanted) return;

    if (part != NO_SLOT) {
        sum.store(side.partial + uint64_t(part) * p.stride, p.stride);
        __threadfence();
        __syncwarp(R::mask());
        const uint32_t first = side.parts[2 * part], parts = side.parts[2 * part + 1];
        uint32_t arrived = 0;
        if (R::lane() == 0) arrived = atomicAdd(side.arrived + first, 1);
        arrived = __shfl_sync(R::mask(), arrived, 0, R::G);
        if (arrived != parts - 1) return;
        __threadfence();
        sum = R::zero();
        UNROLL_4
        for (uint32_t k = first; k < first + parts; k++) {
            sum.add(1.0f, R::load_shared(side.partial + uint64_t(k) * p.stride, p.stride));
        }
        if (R::lane() == 0) side.arrived[first] = 0;
    }
    const propagation::Place place(side.finish, row, slot);
    UNROLL
    for (unsigned v = 0; v < R::V; v++) {
        const float4 four = make_float4(sum.x[4 * v], sum.x[4 * v + 1], sum.x[4 * v + 2], sum.x[4 * v + 3]);
        if (R::column(v) < p.stride) {
            propagation::finish<T, X>(side.finish, place, R::column(v), p.stride, place.scale, four);
        }
    }
}

}  // namespace spmm

#define SPMM(NAME, T, W) \
    KERNEL(spmm_##NAME##W, Spmm p, SPMM_THREADS) { spmm::run<T, T, W>(p); }
EVERY_TABLE(SPMM)
#undef SPMM
// Backward with tables in f16.
#define SPMM_BACK(NAME, T, W) \
    KERNEL(spmm_##NAME##W, Spmm p, SPMM_THREADS) { spmm::run<T, Bf16, W>(p); }
EVERY_WIDTH_OF(SPMM_BACK, f16_bf16_, F16)
#undef SPMM_BACK

KERNEL(mark, Mark p, MARK_THREADS) {
    const bool items = blockIdx.x >= p.item_block;
    const MarkSide &side = p.side[items];
    const uint32_t slot = (blockIdx.x - (items ? p.item_block : 0)) * MARK_THREADS + threadIdx.x;
    if (slot < *side.count) side.slot[side.touched[slot]] = p.set ? slot : NO_SLOT;
}

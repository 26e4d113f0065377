// What LightGCN's kernels do with the sum of a row: four columns of it at a time. Tables, and their scaled copies, are
// kept in the form T, layers in the form X: that of the parameters forward, of gradients backward.
#pragma once
#include "adam.cuh"

namespace propagation {

// What all columns of a row share.
struct Place {
    uint32_t row, slot;
    float scale;
    float l2;    // coefficient of the row's parameters in their gradient
    float rate;  // of the step that is being made

    DEVICE Place(const Finish &f, uint32_t row, uint32_t slot)
        : row(row), slot(slot), scale(f.scale[row]), l2(0.0f), rate(0.0f) {
        if (f.table.p == nullptr) return;
        rate = adam::rate(f.adam, *f.step + 1);
        if (slot != NO_SLOT) l2 = f.l2 / float(*f.rows) * float(f.starts[slot + 1] - f.starts[slot]);
    }
};

DEVICE uint32_t slot_of(const Finish &f, uint32_t row) { return f.slot != nullptr ? f.slot[row] : NO_SLOT; }

// y = base + by sum in columns `column`..`column` + 4, which lie before W; then `out`, `scaled`, or Adam on the table.
template <class T, class X>
DEVICE void finish(const Finish &f, const Place &place, uint32_t column, uint32_t stride, float by, float4 sum) {
    const bool based = !f.base_by_slot || place.slot != NO_SLOT;
    const uint64_t at = uint64_t(place.row) * stride + column, at_slot = uint64_t(place.slot) * stride + column;
    float4 base = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (f.stored_base != nullptr) {
        base = load4(static_cast<const T *>(f.stored_base) + at);
    } else if (based) {
        base = load4(f.base + (f.base_by_slot ? at_slot : at));
    }
    const float4 y = make_float4(fmaf(by, sum.x, base.x), fmaf(by, sum.y, base.y), fmaf(by, sum.z, base.z),
                                 fmaf(by, sum.w, base.w));
    const float a = f.factor, s = place.scale;
    if (f.out != nullptr) {
        store4(f.out + (f.out_by_slot ? at_slot : at), make_float4(a * y.x, a * y.y, a * y.z, a * y.w));
    }
    if (f.table.p == nullptr) {
        const float4 scaled = make_float4(s * y.x, s * y.y, s * y.z, s * y.w);
        if (f.scaled != nullptr) store4(static_cast<X *>(f.scaled) + at, scaled);
        return;
    }
    T *stored = static_cast<T *>(f.table.p) + at;
    float4 p = load4(stored), m = load4(f.table.m + at), v = load4(f.table.v + at);
    float4 g = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (f.ego != nullptr && place.slot != NO_SLOT) g = load4(f.ego + at_slot);
    g = make_float4(fmaf(a, y.x, g.x), fmaf(a, y.y, g.y), fmaf(a, y.z, g.z), fmaf(a, y.w, g.w));
    adam::step(f.adam, place.rate, fmaf(place.l2, p.x, g.x), p.x, m.x, v.x);
    adam::step(f.adam, place.rate, fmaf(place.l2, p.y, g.y), p.y, m.y, v.y);
    adam::step(f.adam, place.rate, fmaf(place.l2, p.z, g.z), p.z, m.z, v.z);
    adam::step(f.adam, place.rate, fmaf(place.l2, p.w, g.w), p.w, m.w, v.w);
    const Noise noise(f.table, *f.step + 1, place.row);
    p = make_float4(stochastic<T>(p.x, noise.word(column)), stochastic<T>(p.y, noise.word(column + 1)),
                    stochastic<T>(p.z, noise.word(column + 2)), stochastic<T>(p.w, noise.word(column + 3)));
    store4(stored, p);
    store4(f.table.m + at, m);
    store4(f.table.v + at, v);
    store4(static_cast<T *>(f.scaled) + at, make_float4(s * p.x, s * p.y, s * p.z, s * p.w));
}

}  // namespace propagation

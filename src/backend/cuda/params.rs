//! The structs of `kernels/params.h`, made by bindgen: `MACR_BLESS=1 cargo test --test params`.
#![allow(missing_docs)]

pub const SAMPLER_USER_UNIFORM: u32 = 0;
pub const SAMPLER_INTERACTION: u32 = 1;
pub const SAMPLE_DRAW_THREADS: u32 = 256;
pub const SAMPLE_GROUP_THREADS: u32 = 1024;
pub const SAMPLE_GROUP_SHARED: u32 = 32896;
pub const ALL_PAIRS_PARTIAL_THREADS: u32 = 512;
pub const ALL_PAIRS_PARTS: u32 = 32;
pub const ALL_PAIRS_EVALUATE_THREADS: u32 = 1024;
pub const ALL_PAIRS_EPS_THREADS: u32 = 256;
pub const ALL_PAIRS_TILE: u32 = 4;
pub const ALL_PAIRS_NODES: u32 = 192;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SampleDraw {
    pub first_step: *const u64,
    pub offsets: *const u64,
    pub seen: *const u32,
    pub eligible: *const u32,
    pub before: *const u64,
    pub block_user: *const u32,
    pub threshold: *const u64,
    pub alias: *const u32,
    pub weight: *const f64,
    pub step: *mut u64,
    pub rows: *mut u32,
    pub users: *mut u32,
    pub positives: *mut u32,
    pub negatives: *mut u32,
    pub seed: u64,
    pub steps_per_epoch: u64,
    pub interactions: u64,
    pub users_eligible: u32,
    pub items: u32,
    pub batch: u32,
    pub kind: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleDraw"][::core::mem::size_of::<SampleDraw>() - 152usize];
    ["Alignment of SampleDraw"][::core::mem::align_of::<SampleDraw>() - 8usize];
    ["Offset of field: SampleDraw::first_step"][::core::mem::offset_of!(SampleDraw, first_step) - 0usize];
    ["Offset of field: SampleDraw::offsets"][::core::mem::offset_of!(SampleDraw, offsets) - 8usize];
    ["Offset of field: SampleDraw::seen"][::core::mem::offset_of!(SampleDraw, seen) - 16usize];
    ["Offset of field: SampleDraw::eligible"][::core::mem::offset_of!(SampleDraw, eligible) - 24usize];
    ["Offset of field: SampleDraw::before"][::core::mem::offset_of!(SampleDraw, before) - 32usize];
    ["Offset of field: SampleDraw::block_user"][::core::mem::offset_of!(SampleDraw, block_user) - 40usize];
    ["Offset of field: SampleDraw::threshold"][::core::mem::offset_of!(SampleDraw, threshold) - 48usize];
    ["Offset of field: SampleDraw::alias"][::core::mem::offset_of!(SampleDraw, alias) - 56usize];
    ["Offset of field: SampleDraw::weight"][::core::mem::offset_of!(SampleDraw, weight) - 64usize];
    ["Offset of field: SampleDraw::step"][::core::mem::offset_of!(SampleDraw, step) - 72usize];
    ["Offset of field: SampleDraw::rows"][::core::mem::offset_of!(SampleDraw, rows) - 80usize];
    ["Offset of field: SampleDraw::users"][::core::mem::offset_of!(SampleDraw, users) - 88usize];
    ["Offset of field: SampleDraw::positives"][::core::mem::offset_of!(SampleDraw, positives) - 96usize];
    ["Offset of field: SampleDraw::negatives"][::core::mem::offset_of!(SampleDraw, negatives) - 104usize];
    ["Offset of field: SampleDraw::seed"][::core::mem::offset_of!(SampleDraw, seed) - 112usize];
    ["Offset of field: SampleDraw::steps_per_epoch"]
        [::core::mem::offset_of!(SampleDraw, steps_per_epoch) - 120usize];
    ["Offset of field: SampleDraw::interactions"]
        [::core::mem::offset_of!(SampleDraw, interactions) - 128usize];
    ["Offset of field: SampleDraw::users_eligible"]
        [::core::mem::offset_of!(SampleDraw, users_eligible) - 136usize];
    ["Offset of field: SampleDraw::items"][::core::mem::offset_of!(SampleDraw, items) - 140usize];
    ["Offset of field: SampleDraw::batch"][::core::mem::offset_of!(SampleDraw, batch) - 144usize];
    ["Offset of field: SampleDraw::kind"][::core::mem::offset_of!(SampleDraw, kind) - 148usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SampleSide {
    pub first: *const u32,
    pub second: *const u32,
    pub touched: *mut u32,
    pub starts: *mut u32,
    pub samples: *mut u32,
    pub slot: *mut u32,
    pub count: *mut u32,
    pub id_bits: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleSide"][::core::mem::size_of::<SampleSide>() - 64usize];
    ["Alignment of SampleSide"][::core::mem::align_of::<SampleSide>() - 8usize];
    ["Offset of field: SampleSide::first"][::core::mem::offset_of!(SampleSide, first) - 0usize];
    ["Offset of field: SampleSide::second"][::core::mem::offset_of!(SampleSide, second) - 8usize];
    ["Offset of field: SampleSide::touched"][::core::mem::offset_of!(SampleSide, touched) - 16usize];
    ["Offset of field: SampleSide::starts"][::core::mem::offset_of!(SampleSide, starts) - 24usize];
    ["Offset of field: SampleSide::samples"][::core::mem::offset_of!(SampleSide, samples) - 32usize];
    ["Offset of field: SampleSide::slot"][::core::mem::offset_of!(SampleSide, slot) - 40usize];
    ["Offset of field: SampleSide::count"][::core::mem::offset_of!(SampleSide, count) - 48usize];
    ["Offset of field: SampleSide::id_bits"][::core::mem::offset_of!(SampleSide, id_bits) - 56usize];
    ["Offset of field: SampleSide::unused"][::core::mem::offset_of!(SampleSide, unused) - 60usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SampleGroup {
    pub first_step: *mut u64,
    pub rows: *const u32,
    pub scratch: *mut u32,
    pub side: [SampleSide; 2usize],
    pub batch: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleGroup"][::core::mem::size_of::<SampleGroup>() - 160usize];
    ["Alignment of SampleGroup"][::core::mem::align_of::<SampleGroup>() - 8usize];
    ["Offset of field: SampleGroup::first_step"][::core::mem::offset_of!(SampleGroup, first_step) - 0usize];
    ["Offset of field: SampleGroup::rows"][::core::mem::offset_of!(SampleGroup, rows) - 8usize];
    ["Offset of field: SampleGroup::scratch"][::core::mem::offset_of!(SampleGroup, scratch) - 16usize];
    ["Offset of field: SampleGroup::side"][::core::mem::offset_of!(SampleGroup, side) - 24usize];
    ["Offset of field: SampleGroup::batch"][::core::mem::offset_of!(SampleGroup, batch) - 152usize];
    ["Offset of field: SampleGroup::unused"][::core::mem::offset_of!(SampleGroup, unused) - 156usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct AllPairsSums {
    pub score: *const f32,
    pub gate: *const f32,
    pub rows: *const u32,
    pub loss: *mut f32,
    pub score_gradient: *mut f32,
    pub gate_gradient: *mut f32,
    pub ranges: *mut f32,
    pub moments: *mut f64,
    pub intervals: *mut f64,
    pub nodes: *mut u32,
    pub batch: u32,
    pub parts: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AllPairsSums"][::core::mem::size_of::<AllPairsSums>() - 88usize];
    ["Alignment of AllPairsSums"][::core::mem::align_of::<AllPairsSums>() - 8usize];
    ["Offset of field: AllPairsSums::score"][::core::mem::offset_of!(AllPairsSums, score) - 0usize];
    ["Offset of field: AllPairsSums::gate"][::core::mem::offset_of!(AllPairsSums, gate) - 8usize];
    ["Offset of field: AllPairsSums::rows"][::core::mem::offset_of!(AllPairsSums, rows) - 16usize];
    ["Offset of field: AllPairsSums::loss"][::core::mem::offset_of!(AllPairsSums, loss) - 24usize];
    ["Offset of field: AllPairsSums::score_gradient"]
        [::core::mem::offset_of!(AllPairsSums, score_gradient) - 32usize];
    ["Offset of field: AllPairsSums::gate_gradient"]
        [::core::mem::offset_of!(AllPairsSums, gate_gradient) - 40usize];
    ["Offset of field: AllPairsSums::ranges"][::core::mem::offset_of!(AllPairsSums, ranges) - 48usize];
    ["Offset of field: AllPairsSums::moments"][::core::mem::offset_of!(AllPairsSums, moments) - 56usize];
    ["Offset of field: AllPairsSums::intervals"][::core::mem::offset_of!(AllPairsSums, intervals) - 64usize];
    ["Offset of field: AllPairsSums::nodes"][::core::mem::offset_of!(AllPairsSums, nodes) - 72usize];
    ["Offset of field: AllPairsSums::batch"][::core::mem::offset_of!(AllPairsSums, batch) - 80usize];
    ["Offset of field: AllPairsSums::parts"][::core::mem::offset_of!(AllPairsSums, parts) - 84usize];
};

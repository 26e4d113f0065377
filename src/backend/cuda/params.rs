//! The structs of `kernels/params.h`, made by bindgen: `MACR_BLESS=1 cargo test --test params`.
#![allow(missing_docs)]

pub const SAMPLER_USER_UNIFORM: u32 = 0;
pub const SAMPLER_INTERACTION: u32 = 1;
pub const RANK_THREADS: u32 = 256;
pub const RANK_TILE: u32 = 128;
pub const RANK_SLICE: u32 = 16;
pub const RANK_STAGES: u32 = 3;
pub const RANK_VARIANTS: u32 = 32;
pub const RANK_LONGEST: u32 = 1024;
pub const RANK_SEEN: u32 = 4;
pub const RANK_SHARED: u32 = 49664;
pub const SAMPLE_DRAW_THREADS: u32 = 256;
pub const SAMPLE_GROUP_THREADS: u32 = 1024;
pub const SAMPLE_GROUP_SHARED: u32 = 32896;
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
pub struct RankGates {
    pub items: *const f32,
    pub weight: *const f32,
    pub gates: *mut f32,
    pub count: u32,
    pub dim: u32,
    pub stride: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankGates"][::core::mem::size_of::<RankGates>() - 40usize];
    ["Alignment of RankGates"][::core::mem::align_of::<RankGates>() - 8usize];
    ["Offset of field: RankGates::items"][::core::mem::offset_of!(RankGates, items) - 0usize];
    ["Offset of field: RankGates::weight"][::core::mem::offset_of!(RankGates, weight) - 8usize];
    ["Offset of field: RankGates::gates"][::core::mem::offset_of!(RankGates, gates) - 16usize];
    ["Offset of field: RankGates::count"][::core::mem::offset_of!(RankGates, count) - 24usize];
    ["Offset of field: RankGates::dim"][::core::mem::offset_of!(RankGates, dim) - 28usize];
    ["Offset of field: RankGates::stride"][::core::mem::offset_of!(RankGates, stride) - 32usize];
    ["Offset of field: RankGates::unused"][::core::mem::offset_of!(RankGates, unused) - 36usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankPack {
    pub table: *const f32,
    pub scale: *const f32,
    pub rows: *const u32,
    pub packed: *mut f32,
    pub largest: *mut u32,
    pub table_rows: u32,
    pub count: u32,
    pub dim: u32,
    pub stride: u32,
    pub depth: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankPack"][::core::mem::size_of::<RankPack>() - 64usize];
    ["Alignment of RankPack"][::core::mem::align_of::<RankPack>() - 8usize];
    ["Offset of field: RankPack::table"][::core::mem::offset_of!(RankPack, table) - 0usize];
    ["Offset of field: RankPack::scale"][::core::mem::offset_of!(RankPack, scale) - 8usize];
    ["Offset of field: RankPack::rows"][::core::mem::offset_of!(RankPack, rows) - 16usize];
    ["Offset of field: RankPack::packed"][::core::mem::offset_of!(RankPack, packed) - 24usize];
    ["Offset of field: RankPack::largest"][::core::mem::offset_of!(RankPack, largest) - 32usize];
    ["Offset of field: RankPack::table_rows"][::core::mem::offset_of!(RankPack, table_rows) - 40usize];
    ["Offset of field: RankPack::count"][::core::mem::offset_of!(RankPack, count) - 44usize];
    ["Offset of field: RankPack::dim"][::core::mem::offset_of!(RankPack, dim) - 48usize];
    ["Offset of field: RankPack::stride"][::core::mem::offset_of!(RankPack, stride) - 52usize];
    ["Offset of field: RankPack::depth"][::core::mem::offset_of!(RankPack, depth) - 56usize];
    ["Offset of field: RankPack::unused"][::core::mem::offset_of!(RankPack, unused) - 60usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankSeen {
    pub offsets: *const u64,
    pub items: *const u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankSeen"][::core::mem::size_of::<RankSeen>() - 16usize];
    ["Alignment of RankSeen"][::core::mem::align_of::<RankSeen>() - 8usize];
    ["Offset of field: RankSeen::offsets"][::core::mem::offset_of!(RankSeen, offsets) - 0usize];
    ["Offset of field: RankSeen::items"][::core::mem::offset_of!(RankSeen, items) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankLists {
    pub users: *const f32,
    pub items: *const f32,
    pub offsets: *const f32,
    pub ids: *const u32,
    pub rows: *const u32,
    pub seen: [RankSeen; 4usize],
    pub pending: *mut u64,
    pub lists: *mut u64,
    pub count: u32,
    pub item_tiles: u32,
    pub depth: u32,
    pub parts: u32,
    pub variants: u32,
    pub k: u32,
    pub length: u32,
    pub full: u32,
    pub capacity: u32,
    pub warps: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankLists"][::core::mem::size_of::<RankLists>() - 160usize];
    ["Alignment of RankLists"][::core::mem::align_of::<RankLists>() - 8usize];
    ["Offset of field: RankLists::users"][::core::mem::offset_of!(RankLists, users) - 0usize];
    ["Offset of field: RankLists::items"][::core::mem::offset_of!(RankLists, items) - 8usize];
    ["Offset of field: RankLists::offsets"][::core::mem::offset_of!(RankLists, offsets) - 16usize];
    ["Offset of field: RankLists::ids"][::core::mem::offset_of!(RankLists, ids) - 24usize];
    ["Offset of field: RankLists::rows"][::core::mem::offset_of!(RankLists, rows) - 32usize];
    ["Offset of field: RankLists::seen"][::core::mem::offset_of!(RankLists, seen) - 40usize];
    ["Offset of field: RankLists::pending"][::core::mem::offset_of!(RankLists, pending) - 104usize];
    ["Offset of field: RankLists::lists"][::core::mem::offset_of!(RankLists, lists) - 112usize];
    ["Offset of field: RankLists::count"][::core::mem::offset_of!(RankLists, count) - 120usize];
    ["Offset of field: RankLists::item_tiles"][::core::mem::offset_of!(RankLists, item_tiles) - 124usize];
    ["Offset of field: RankLists::depth"][::core::mem::offset_of!(RankLists, depth) - 128usize];
    ["Offset of field: RankLists::parts"][::core::mem::offset_of!(RankLists, parts) - 132usize];
    ["Offset of field: RankLists::variants"][::core::mem::offset_of!(RankLists, variants) - 136usize];
    ["Offset of field: RankLists::k"][::core::mem::offset_of!(RankLists, k) - 140usize];
    ["Offset of field: RankLists::length"][::core::mem::offset_of!(RankLists, length) - 144usize];
    ["Offset of field: RankLists::full"][::core::mem::offset_of!(RankLists, full) - 148usize];
    ["Offset of field: RankLists::capacity"][::core::mem::offset_of!(RankLists, capacity) - 152usize];
    ["Offset of field: RankLists::warps"][::core::mem::offset_of!(RankLists, warps) - 156usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankMerge {
    pub lists: *const u64,
    pub out: *mut u64,
    pub count: u32,
    pub parts: u32,
    pub variants: u32,
    pub k: u32,
    pub length: u32,
    pub warps: u32,
    pub stride: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankMerge"][::core::mem::size_of::<RankMerge>() - 48usize];
    ["Alignment of RankMerge"][::core::mem::align_of::<RankMerge>() - 8usize];
    ["Offset of field: RankMerge::lists"][::core::mem::offset_of!(RankMerge, lists) - 0usize];
    ["Offset of field: RankMerge::out"][::core::mem::offset_of!(RankMerge, out) - 8usize];
    ["Offset of field: RankMerge::count"][::core::mem::offset_of!(RankMerge, count) - 16usize];
    ["Offset of field: RankMerge::parts"][::core::mem::offset_of!(RankMerge, parts) - 20usize];
    ["Offset of field: RankMerge::variants"][::core::mem::offset_of!(RankMerge, variants) - 24usize];
    ["Offset of field: RankMerge::k"][::core::mem::offset_of!(RankMerge, k) - 28usize];
    ["Offset of field: RankMerge::length"][::core::mem::offset_of!(RankMerge, length) - 32usize];
    ["Offset of field: RankMerge::warps"][::core::mem::offset_of!(RankMerge, warps) - 36usize];
    ["Offset of field: RankMerge::stride"][::core::mem::offset_of!(RankMerge, stride) - 40usize];
    ["Offset of field: RankMerge::unused"][::core::mem::offset_of!(RankMerge, unused) - 44usize];
};

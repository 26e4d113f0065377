//! The structs of `kernels/params.h`, made by bindgen: `MACR_BLESS=1 cargo test --test params`.
#![allow(missing_docs)]

pub const PENALTY_NONE: u32 = 0;
pub const PENALTY_HALVES: u32 = 1;
pub const PENALTY_DECAY: u32 = 2;
pub const PENALTY_ACROSS: u32 = 3;
pub const PENALTY_WITHIN: u32 = 4;
pub const FORM_F32: u32 = 0;
pub const FORM_F16: u32 = 1;
pub const FORM_BF16: u32 = 2;
pub const SAMPLER_USER_UNIFORM: u32 = 0;
pub const SAMPLER_INTERACTION: u32 = 1;
pub const RANK_THREADS: u32 = 256;
pub const RANK_RESIDENT: u32 = 2;
pub const RANK_TILE: u32 = 128;
pub const RANK_SLICE: u32 = 32;
pub const RANK_STAGES: u32 = 3;
pub const RANK_VARIANTS: u32 = 32;
pub const RANK_LONGEST: u32 = 1024;
pub const RANK_SEEN: u32 = 4;
pub const RANK_SHARED: u32 = 50176;
pub const SAMPLE_DRAW_THREADS: u32 = 256;
pub const SAMPLE_GROUPS_THREADS: u32 = 256;
pub const SAMPLE_GROUP_THREADS: u32 = 1024;
pub const SAMPLE_GROUP_SHARED: u32 = 32896;
pub const ALL_PAIRS_PARTIAL_THREADS: u32 = 512;
pub const ALL_PAIRS_PARTS: u32 = 32;
pub const ALL_PAIRS_EVALUATE_THREADS: u32 = 1024;
pub const ALL_PAIRS_EPS_THREADS: u32 = 256;
pub const ALL_PAIRS_TILE: u32 = 4;
pub const ALL_PAIRS_NODES: u32 = 192;
pub const EXPOMF_THREADS: u32 = 256;
pub const EXPOMF_TILE: u32 = 64;
pub const EXPOMF_ROWS: u32 = 128;
pub const EXPOMF_DEPTH: u32 = 16;
pub const EXPOMF_SOLVE_THREADS: u32 = 128;
pub const EXPOMF_ITEM_THREADS: u32 = 128;
pub const EXPOMF_POSTERIOR_THREADS: u32 = 1024;
pub const EXPOMF_TRIES: u32 = 40;
pub const RULES_THREADS: u32 = 256;
pub const EXPORT_THREADS: u32 = 256;
pub const GATHER_THREADS: u32 = 256;
pub const STEP_THREADS: u32 = 256;
pub const APPLY_THREADS: u32 = 256;
pub const PENALTY_THREADS: u32 = 256;
pub const PENALTY_BLOCKS: u32 = 64;
pub const LONGEST_GAP: u32 = 256;
pub const STEP_BLOCKS: u32 = 512;
pub const LOSS_PARTS: u32 = 3;
pub const STEP_SETTINGS: u32 = 3;
pub const APPLY_WINDOW: u32 = 16;
pub const BRANCH_THREADS: u32 = 256;
pub const BRANCH_BLOCKS: u32 = 128;
pub const BRANCH_UNITS: u32 = 32;
pub const METRICS_THREADS: u32 = 256;
pub const DIVERGENCE_THREADS: u32 = 256;
pub const CEILING_THREADS: u32 = 256;
pub const CEILING_COLUMNS: u32 = 64;
pub const CEILING_ROWS: u32 = 32;
pub const MARK_THREADS: u32 = 256;
pub const SPMM_THREADS: u32 = 256;
pub const GRAM_THREADS: u32 = 128;
pub const SPMM_EDGES: u32 = 256;
pub const NO_SLOT: u32 = 4294967295;
pub const GRAM_ROWS: u32 = 128;
pub const GRAM_DEPTH: u32 = 16;
pub const GRAM_PRODUCT_THREADS: u32 = 128;
pub const GRAM_PRODUCT_COLUMNS: u32 = 2048;
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
    pub count: *const u32,
    pub order: *const u32,
    pub fewer: *const u32,
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
    pub per_positive: u32,
    pub margin: u32,
    pub fewer_last: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleDraw"][::core::mem::size_of::<SampleDraw>() - 192usize];
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
    ["Offset of field: SampleDraw::count"][::core::mem::offset_of!(SampleDraw, count) - 72usize];
    ["Offset of field: SampleDraw::order"][::core::mem::offset_of!(SampleDraw, order) - 80usize];
    ["Offset of field: SampleDraw::fewer"][::core::mem::offset_of!(SampleDraw, fewer) - 88usize];
    ["Offset of field: SampleDraw::step"][::core::mem::offset_of!(SampleDraw, step) - 96usize];
    ["Offset of field: SampleDraw::rows"][::core::mem::offset_of!(SampleDraw, rows) - 104usize];
    ["Offset of field: SampleDraw::users"][::core::mem::offset_of!(SampleDraw, users) - 112usize];
    ["Offset of field: SampleDraw::positives"][::core::mem::offset_of!(SampleDraw, positives) - 120usize];
    ["Offset of field: SampleDraw::negatives"][::core::mem::offset_of!(SampleDraw, negatives) - 128usize];
    ["Offset of field: SampleDraw::seed"][::core::mem::offset_of!(SampleDraw, seed) - 136usize];
    ["Offset of field: SampleDraw::steps_per_epoch"]
        [::core::mem::offset_of!(SampleDraw, steps_per_epoch) - 144usize];
    ["Offset of field: SampleDraw::interactions"]
        [::core::mem::offset_of!(SampleDraw, interactions) - 152usize];
    ["Offset of field: SampleDraw::users_eligible"]
        [::core::mem::offset_of!(SampleDraw, users_eligible) - 160usize];
    ["Offset of field: SampleDraw::items"][::core::mem::offset_of!(SampleDraw, items) - 164usize];
    ["Offset of field: SampleDraw::batch"][::core::mem::offset_of!(SampleDraw, batch) - 168usize];
    ["Offset of field: SampleDraw::kind"][::core::mem::offset_of!(SampleDraw, kind) - 172usize];
    ["Offset of field: SampleDraw::per_positive"]
        [::core::mem::offset_of!(SampleDraw, per_positive) - 176usize];
    ["Offset of field: SampleDraw::margin"][::core::mem::offset_of!(SampleDraw, margin) - 180usize];
    ["Offset of field: SampleDraw::fewer_last"][::core::mem::offset_of!(SampleDraw, fewer_last) - 184usize];
    ["Offset of field: SampleDraw::unused"][::core::mem::offset_of!(SampleDraw, unused) - 188usize];
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
pub struct SampleGroups {
    pub rows: *const u32,
    pub users: *const u32,
    pub positives: *const u32,
    pub constants: *const f32,
    pub second: *mut u32,
    pub weight: *mut f32,
    pub seed: u64,
    pub batch: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleGroups"][::core::mem::size_of::<SampleGroups>() - 64usize];
    ["Alignment of SampleGroups"][::core::mem::align_of::<SampleGroups>() - 8usize];
    ["Offset of field: SampleGroups::rows"][::core::mem::offset_of!(SampleGroups, rows) - 0usize];
    ["Offset of field: SampleGroups::users"][::core::mem::offset_of!(SampleGroups, users) - 8usize];
    ["Offset of field: SampleGroups::positives"][::core::mem::offset_of!(SampleGroups, positives) - 16usize];
    ["Offset of field: SampleGroups::constants"][::core::mem::offset_of!(SampleGroups, constants) - 24usize];
    ["Offset of field: SampleGroups::second"][::core::mem::offset_of!(SampleGroups, second) - 32usize];
    ["Offset of field: SampleGroups::weight"][::core::mem::offset_of!(SampleGroups, weight) - 40usize];
    ["Offset of field: SampleGroups::seed"][::core::mem::offset_of!(SampleGroups, seed) - 48usize];
    ["Offset of field: SampleGroups::batch"][::core::mem::offset_of!(SampleGroups, batch) - 56usize];
    ["Offset of field: SampleGroups::unused"][::core::mem::offset_of!(SampleGroups, unused) - 60usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankLogits {
    pub items: *const f32,
    pub branch: *const f32,
    pub logits: *mut f64,
    pub count: u32,
    pub dim: u32,
    pub stride: u32,
    pub hidden: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankLogits"][::core::mem::size_of::<RankLogits>() - 40usize];
    ["Alignment of RankLogits"][::core::mem::align_of::<RankLogits>() - 8usize];
    ["Offset of field: RankLogits::items"][::core::mem::offset_of!(RankLogits, items) - 0usize];
    ["Offset of field: RankLogits::branch"][::core::mem::offset_of!(RankLogits, branch) - 8usize];
    ["Offset of field: RankLogits::logits"][::core::mem::offset_of!(RankLogits, logits) - 16usize];
    ["Offset of field: RankLogits::count"][::core::mem::offset_of!(RankLogits, count) - 24usize];
    ["Offset of field: RankLogits::dim"][::core::mem::offset_of!(RankLogits, dim) - 28usize];
    ["Offset of field: RankLogits::stride"][::core::mem::offset_of!(RankLogits, stride) - 32usize];
    ["Offset of field: RankLogits::hidden"][::core::mem::offset_of!(RankLogits, hidden) - 36usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct RankPack {
    pub table: *const f32,
    pub scale: *const f32,
    pub rows: *const u32,
    pub exact: *mut f32,
    pub packed: *mut u16,
    pub norms: *mut f32,
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
    ["Size of RankPack"][::core::mem::size_of::<RankPack>() - 80usize];
    ["Alignment of RankPack"][::core::mem::align_of::<RankPack>() - 8usize];
    ["Offset of field: RankPack::table"][::core::mem::offset_of!(RankPack, table) - 0usize];
    ["Offset of field: RankPack::scale"][::core::mem::offset_of!(RankPack, scale) - 8usize];
    ["Offset of field: RankPack::rows"][::core::mem::offset_of!(RankPack, rows) - 16usize];
    ["Offset of field: RankPack::exact"][::core::mem::offset_of!(RankPack, exact) - 24usize];
    ["Offset of field: RankPack::packed"][::core::mem::offset_of!(RankPack, packed) - 32usize];
    ["Offset of field: RankPack::norms"][::core::mem::offset_of!(RankPack, norms) - 40usize];
    ["Offset of field: RankPack::largest"][::core::mem::offset_of!(RankPack, largest) - 48usize];
    ["Offset of field: RankPack::table_rows"][::core::mem::offset_of!(RankPack, table_rows) - 56usize];
    ["Offset of field: RankPack::count"][::core::mem::offset_of!(RankPack, count) - 60usize];
    ["Offset of field: RankPack::dim"][::core::mem::offset_of!(RankPack, dim) - 64usize];
    ["Offset of field: RankPack::stride"][::core::mem::offset_of!(RankPack, stride) - 68usize];
    ["Offset of field: RankPack::depth"][::core::mem::offset_of!(RankPack, depth) - 72usize];
    ["Offset of field: RankPack::unused"][::core::mem::offset_of!(RankPack, unused) - 76usize];
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
    pub users: *const u16,
    pub items: *const u16,
    pub user_rows: *const f32,
    pub item_rows: *const f32,
    pub user_norms: *const f32,
    pub item_norms: *const f32,
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
    pub error: f32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RankLists"][::core::mem::size_of::<RankLists>() - 200usize];
    ["Alignment of RankLists"][::core::mem::align_of::<RankLists>() - 8usize];
    ["Offset of field: RankLists::users"][::core::mem::offset_of!(RankLists, users) - 0usize];
    ["Offset of field: RankLists::items"][::core::mem::offset_of!(RankLists, items) - 8usize];
    ["Offset of field: RankLists::user_rows"][::core::mem::offset_of!(RankLists, user_rows) - 16usize];
    ["Offset of field: RankLists::item_rows"][::core::mem::offset_of!(RankLists, item_rows) - 24usize];
    ["Offset of field: RankLists::user_norms"][::core::mem::offset_of!(RankLists, user_norms) - 32usize];
    ["Offset of field: RankLists::item_norms"][::core::mem::offset_of!(RankLists, item_norms) - 40usize];
    ["Offset of field: RankLists::offsets"][::core::mem::offset_of!(RankLists, offsets) - 48usize];
    ["Offset of field: RankLists::ids"][::core::mem::offset_of!(RankLists, ids) - 56usize];
    ["Offset of field: RankLists::rows"][::core::mem::offset_of!(RankLists, rows) - 64usize];
    ["Offset of field: RankLists::seen"][::core::mem::offset_of!(RankLists, seen) - 72usize];
    ["Offset of field: RankLists::pending"][::core::mem::offset_of!(RankLists, pending) - 136usize];
    ["Offset of field: RankLists::lists"][::core::mem::offset_of!(RankLists, lists) - 144usize];
    ["Offset of field: RankLists::count"][::core::mem::offset_of!(RankLists, count) - 152usize];
    ["Offset of field: RankLists::item_tiles"][::core::mem::offset_of!(RankLists, item_tiles) - 156usize];
    ["Offset of field: RankLists::depth"][::core::mem::offset_of!(RankLists, depth) - 160usize];
    ["Offset of field: RankLists::parts"][::core::mem::offset_of!(RankLists, parts) - 164usize];
    ["Offset of field: RankLists::variants"][::core::mem::offset_of!(RankLists, variants) - 168usize];
    ["Offset of field: RankLists::k"][::core::mem::offset_of!(RankLists, k) - 172usize];
    ["Offset of field: RankLists::length"][::core::mem::offset_of!(RankLists, length) - 176usize];
    ["Offset of field: RankLists::full"][::core::mem::offset_of!(RankLists, full) - 180usize];
    ["Offset of field: RankLists::capacity"][::core::mem::offset_of!(RankLists, capacity) - 184usize];
    ["Offset of field: RankLists::warps"][::core::mem::offset_of!(RankLists, warps) - 188usize];
    ["Offset of field: RankLists::error"][::core::mem::offset_of!(RankLists, error) - 192usize];
    ["Offset of field: RankLists::unused"][::core::mem::offset_of!(RankLists, unused) - 196usize];
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
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Optimiser {
    pub rate: *const f64,
    pub ended: *const f32,
    pub decay: *const f32,
    pub settled: u64,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub replay: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Optimiser"][::core::mem::size_of::<Optimiser>() - 48usize];
    ["Alignment of Optimiser"][::core::mem::align_of::<Optimiser>() - 8usize];
    ["Offset of field: Optimiser::rate"][::core::mem::offset_of!(Optimiser, rate) - 0usize];
    ["Offset of field: Optimiser::ended"][::core::mem::offset_of!(Optimiser, ended) - 8usize];
    ["Offset of field: Optimiser::decay"][::core::mem::offset_of!(Optimiser, decay) - 16usize];
    ["Offset of field: Optimiser::settled"][::core::mem::offset_of!(Optimiser, settled) - 24usize];
    ["Offset of field: Optimiser::beta1"][::core::mem::offset_of!(Optimiser, beta1) - 32usize];
    ["Offset of field: Optimiser::beta2"][::core::mem::offset_of!(Optimiser, beta2) - 36usize];
    ["Offset of field: Optimiser::epsilon"][::core::mem::offset_of!(Optimiser, epsilon) - 40usize];
    ["Offset of field: Optimiser::replay"][::core::mem::offset_of!(Optimiser, replay) - 44usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Rows {
    pub p: *mut ::core::ffi::c_void,
    pub m: *mut f32,
    pub v: *mut f32,
    pub last: *mut u64,
    pub noise: [u32; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Rows"][::core::mem::size_of::<Rows>() - 40usize];
    ["Alignment of Rows"][::core::mem::align_of::<Rows>() - 8usize];
    ["Offset of field: Rows::p"][::core::mem::offset_of!(Rows, p) - 0usize];
    ["Offset of field: Rows::m"][::core::mem::offset_of!(Rows, m) - 8usize];
    ["Offset of field: Rows::v"][::core::mem::offset_of!(Rows, v) - 16usize];
    ["Offset of field: Rows::last"][::core::mem::offset_of!(Rows, last) - 24usize];
    ["Offset of field: Rows::noise"][::core::mem::offset_of!(Rows, noise) - 32usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Rules {
    pub step: *const u64,
    pub weights: *mut f32,
    pub adam: Optimiser,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Rules"][::core::mem::size_of::<Rules>() - 64usize];
    ["Alignment of Rules"][::core::mem::align_of::<Rules>() - 8usize];
    ["Offset of field: Rules::step"][::core::mem::offset_of!(Rules, step) - 0usize];
    ["Offset of field: Rules::weights"][::core::mem::offset_of!(Rules, weights) - 8usize];
    ["Offset of field: Rules::adam"][::core::mem::offset_of!(Rules, adam) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Export {
    pub step: *const u64,
    pub weights: *const f32,
    pub out: *mut f32,
    pub table: Rows,
    pub adam: Optimiser,
    pub rows: u32,
    pub stride: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Export"][::core::mem::size_of::<Export>() - 120usize];
    ["Alignment of Export"][::core::mem::align_of::<Export>() - 8usize];
    ["Offset of field: Export::step"][::core::mem::offset_of!(Export, step) - 0usize];
    ["Offset of field: Export::weights"][::core::mem::offset_of!(Export, weights) - 8usize];
    ["Offset of field: Export::out"][::core::mem::offset_of!(Export, out) - 16usize];
    ["Offset of field: Export::table"][::core::mem::offset_of!(Export, table) - 24usize];
    ["Offset of field: Export::adam"][::core::mem::offset_of!(Export, adam) - 64usize];
    ["Offset of field: Export::rows"][::core::mem::offset_of!(Export, rows) - 112usize];
    ["Offset of field: Export::stride"][::core::mem::offset_of!(Export, stride) - 116usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GatherSide {
    pub table: Rows,
    pub touched: *const u32,
    pub starts: *const u32,
    pub count: *const u32,
    pub branch: *const f32,
    pub rows: *mut f32,
    pub logit: *mut f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GatherSide"][::core::mem::size_of::<GatherSide>() - 88usize];
    ["Alignment of GatherSide"][::core::mem::align_of::<GatherSide>() - 8usize];
    ["Offset of field: GatherSide::table"][::core::mem::offset_of!(GatherSide, table) - 0usize];
    ["Offset of field: GatherSide::touched"][::core::mem::offset_of!(GatherSide, touched) - 40usize];
    ["Offset of field: GatherSide::starts"][::core::mem::offset_of!(GatherSide, starts) - 48usize];
    ["Offset of field: GatherSide::count"][::core::mem::offset_of!(GatherSide, count) - 56usize];
    ["Offset of field: GatherSide::branch"][::core::mem::offset_of!(GatherSide, branch) - 64usize];
    ["Offset of field: GatherSide::rows"][::core::mem::offset_of!(GatherSide, rows) - 72usize];
    ["Offset of field: GatherSide::logit"][::core::mem::offset_of!(GatherSide, logit) - 80usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Gather {
    pub step: *const u64,
    pub rows: *const u32,
    pub weights: *const f32,
    pub l2_loss: *mut f64,
    pub side: [GatherSide; 2usize],
    pub adam: Optimiser,
    pub l2: f32,
    pub stride: u32,
    pub item_block: u32,
    pub batch: u32,
    pub current: u32,
    pub filled: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Gather"][::core::mem::size_of::<Gather>() - 280usize];
    ["Alignment of Gather"][::core::mem::align_of::<Gather>() - 8usize];
    ["Offset of field: Gather::step"][::core::mem::offset_of!(Gather, step) - 0usize];
    ["Offset of field: Gather::rows"][::core::mem::offset_of!(Gather, rows) - 8usize];
    ["Offset of field: Gather::weights"][::core::mem::offset_of!(Gather, weights) - 16usize];
    ["Offset of field: Gather::l2_loss"][::core::mem::offset_of!(Gather, l2_loss) - 24usize];
    ["Offset of field: Gather::side"][::core::mem::offset_of!(Gather, side) - 32usize];
    ["Offset of field: Gather::adam"][::core::mem::offset_of!(Gather, adam) - 208usize];
    ["Offset of field: Gather::l2"][::core::mem::offset_of!(Gather, l2) - 256usize];
    ["Offset of field: Gather::stride"][::core::mem::offset_of!(Gather, stride) - 260usize];
    ["Offset of field: Gather::item_block"][::core::mem::offset_of!(Gather, item_block) - 264usize];
    ["Offset of field: Gather::batch"][::core::mem::offset_of!(Gather, batch) - 268usize];
    ["Offset of field: Gather::current"][::core::mem::offset_of!(Gather, current) - 272usize];
    ["Offset of field: Gather::filled"][::core::mem::offset_of!(Gather, filled) - 276usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Step {
    pub rows: *const u32,
    pub user_rows: *const f32,
    pub item_rows: *const f32,
    pub user_logit: *const f32,
    pub item_logit: *const f32,
    pub user_slot: *const u32,
    pub item_slot: *const u32,
    pub score: *mut f32,
    pub gate: *mut f32,
    pub sum_loss: *const f32,
    pub gate_gradient: *const f32,
    pub score_gradient: *mut f32,
    pub item_gradient: *mut f32,
    pub user_gradient: *mut f32,
    pub branch_partial: *mut f32,
    pub loss_partial: *mut f64,
    pub setting: [f32; 3usize],
    pub batch: u32,
    pub stride: u32,
    pub part: u32,
    pub user_stride: u32,
    pub unused: u32,
    pub items: [*const u32; 2usize],
    pub item_constants: *const f32,
    pub item_bias: *const f32,
    pub second: *const u32,
    pub group_weight: *const f32,
    pub second_gradient: *mut f32,
    pub step: *const u64,
    pub steps_per_epoch: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Step"][::core::mem::size_of::<Step>() - 232usize];
    ["Alignment of Step"][::core::mem::align_of::<Step>() - 8usize];
    ["Offset of field: Step::rows"][::core::mem::offset_of!(Step, rows) - 0usize];
    ["Offset of field: Step::user_rows"][::core::mem::offset_of!(Step, user_rows) - 8usize];
    ["Offset of field: Step::item_rows"][::core::mem::offset_of!(Step, item_rows) - 16usize];
    ["Offset of field: Step::user_logit"][::core::mem::offset_of!(Step, user_logit) - 24usize];
    ["Offset of field: Step::item_logit"][::core::mem::offset_of!(Step, item_logit) - 32usize];
    ["Offset of field: Step::user_slot"][::core::mem::offset_of!(Step, user_slot) - 40usize];
    ["Offset of field: Step::item_slot"][::core::mem::offset_of!(Step, item_slot) - 48usize];
    ["Offset of field: Step::score"][::core::mem::offset_of!(Step, score) - 56usize];
    ["Offset of field: Step::gate"][::core::mem::offset_of!(Step, gate) - 64usize];
    ["Offset of field: Step::sum_loss"][::core::mem::offset_of!(Step, sum_loss) - 72usize];
    ["Offset of field: Step::gate_gradient"][::core::mem::offset_of!(Step, gate_gradient) - 80usize];
    ["Offset of field: Step::score_gradient"][::core::mem::offset_of!(Step, score_gradient) - 88usize];
    ["Offset of field: Step::item_gradient"][::core::mem::offset_of!(Step, item_gradient) - 96usize];
    ["Offset of field: Step::user_gradient"][::core::mem::offset_of!(Step, user_gradient) - 104usize];
    ["Offset of field: Step::branch_partial"][::core::mem::offset_of!(Step, branch_partial) - 112usize];
    ["Offset of field: Step::loss_partial"][::core::mem::offset_of!(Step, loss_partial) - 120usize];
    ["Offset of field: Step::setting"][::core::mem::offset_of!(Step, setting) - 128usize];
    ["Offset of field: Step::batch"][::core::mem::offset_of!(Step, batch) - 140usize];
    ["Offset of field: Step::stride"][::core::mem::offset_of!(Step, stride) - 144usize];
    ["Offset of field: Step::part"][::core::mem::offset_of!(Step, part) - 148usize];
    ["Offset of field: Step::user_stride"][::core::mem::offset_of!(Step, user_stride) - 152usize];
    ["Offset of field: Step::unused"][::core::mem::offset_of!(Step, unused) - 156usize];
    ["Offset of field: Step::items"][::core::mem::offset_of!(Step, items) - 160usize];
    ["Offset of field: Step::item_constants"][::core::mem::offset_of!(Step, item_constants) - 176usize];
    ["Offset of field: Step::item_bias"][::core::mem::offset_of!(Step, item_bias) - 184usize];
    ["Offset of field: Step::second"][::core::mem::offset_of!(Step, second) - 192usize];
    ["Offset of field: Step::group_weight"][::core::mem::offset_of!(Step, group_weight) - 200usize];
    ["Offset of field: Step::second_gradient"][::core::mem::offset_of!(Step, second_gradient) - 208usize];
    ["Offset of field: Step::step"][::core::mem::offset_of!(Step, step) - 216usize];
    ["Offset of field: Step::steps_per_epoch"][::core::mem::offset_of!(Step, steps_per_epoch) - 224usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Round {
    pub values: *mut f32,
    pub count: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Round"][::core::mem::size_of::<Round>() - 16usize];
    ["Alignment of Round"][::core::mem::align_of::<Round>() - 8usize];
    ["Offset of field: Round::values"][::core::mem::offset_of!(Round, values) - 0usize];
    ["Offset of field: Round::count"][::core::mem::offset_of!(Round, count) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct BranchSide {
    pub rows: *const f32,
    pub count: *const u32,
    pub starts: *const u32,
    pub samples: *const u32,
    pub logit_gradient: *const f32,
    pub logit: *mut f32,
    pub dx: *mut f32,
    pub partial: *mut f32,
    pub values: *mut f32,
    pub m: *mut f32,
    pub v: *mut f32,
    pub hidden: u32,
    pub logit_samples: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BranchSide"][::core::mem::size_of::<BranchSide>() - 96usize];
    ["Alignment of BranchSide"][::core::mem::align_of::<BranchSide>() - 8usize];
    ["Offset of field: BranchSide::rows"][::core::mem::offset_of!(BranchSide, rows) - 0usize];
    ["Offset of field: BranchSide::count"][::core::mem::offset_of!(BranchSide, count) - 8usize];
    ["Offset of field: BranchSide::starts"][::core::mem::offset_of!(BranchSide, starts) - 16usize];
    ["Offset of field: BranchSide::samples"][::core::mem::offset_of!(BranchSide, samples) - 24usize];
    ["Offset of field: BranchSide::logit_gradient"]
        [::core::mem::offset_of!(BranchSide, logit_gradient) - 32usize];
    ["Offset of field: BranchSide::logit"][::core::mem::offset_of!(BranchSide, logit) - 40usize];
    ["Offset of field: BranchSide::dx"][::core::mem::offset_of!(BranchSide, dx) - 48usize];
    ["Offset of field: BranchSide::partial"][::core::mem::offset_of!(BranchSide, partial) - 56usize];
    ["Offset of field: BranchSide::values"][::core::mem::offset_of!(BranchSide, values) - 64usize];
    ["Offset of field: BranchSide::m"][::core::mem::offset_of!(BranchSide, m) - 72usize];
    ["Offset of field: BranchSide::v"][::core::mem::offset_of!(BranchSide, v) - 80usize];
    ["Offset of field: BranchSide::hidden"][::core::mem::offset_of!(BranchSide, hidden) - 88usize];
    ["Offset of field: BranchSide::logit_samples"]
        [::core::mem::offset_of!(BranchSide, logit_samples) - 92usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Branch {
    pub step: *const u64,
    pub rows: *const u32,
    pub side: [BranchSide; 2usize],
    pub adam: Optimiser,
    pub batch: u32,
    pub stride: u32,
    pub item_block: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Branch"][::core::mem::size_of::<Branch>() - 272usize];
    ["Alignment of Branch"][::core::mem::align_of::<Branch>() - 8usize];
    ["Offset of field: Branch::step"][::core::mem::offset_of!(Branch, step) - 0usize];
    ["Offset of field: Branch::rows"][::core::mem::offset_of!(Branch, rows) - 8usize];
    ["Offset of field: Branch::side"][::core::mem::offset_of!(Branch, side) - 16usize];
    ["Offset of field: Branch::adam"][::core::mem::offset_of!(Branch, adam) - 208usize];
    ["Offset of field: Branch::batch"][::core::mem::offset_of!(Branch, batch) - 256usize];
    ["Offset of field: Branch::stride"][::core::mem::offset_of!(Branch, stride) - 260usize];
    ["Offset of field: Branch::item_block"][::core::mem::offset_of!(Branch, item_block) - 264usize];
    ["Offset of field: Branch::unused"][::core::mem::offset_of!(Branch, unused) - 268usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct PenaltySide {
    pub touched: *const u32,
    pub starts: *const u32,
    pub count: *const u32,
    pub rows: *const f32,
    pub constants: *const f32,
    pub pull: *mut f32,
    pub points: *mut f32,
    pub partial: *mut f64,
    pub row_partial: *mut f64,
    pub count_partial: *mut u32,
    pub stride: u32,
    pub blocks: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PenaltySide"][::core::mem::size_of::<PenaltySide>() - 88usize];
    ["Alignment of PenaltySide"][::core::mem::align_of::<PenaltySide>() - 8usize];
    ["Offset of field: PenaltySide::touched"][::core::mem::offset_of!(PenaltySide, touched) - 0usize];
    ["Offset of field: PenaltySide::starts"][::core::mem::offset_of!(PenaltySide, starts) - 8usize];
    ["Offset of field: PenaltySide::count"][::core::mem::offset_of!(PenaltySide, count) - 16usize];
    ["Offset of field: PenaltySide::rows"][::core::mem::offset_of!(PenaltySide, rows) - 24usize];
    ["Offset of field: PenaltySide::constants"][::core::mem::offset_of!(PenaltySide, constants) - 32usize];
    ["Offset of field: PenaltySide::pull"][::core::mem::offset_of!(PenaltySide, pull) - 40usize];
    ["Offset of field: PenaltySide::points"][::core::mem::offset_of!(PenaltySide, points) - 48usize];
    ["Offset of field: PenaltySide::partial"][::core::mem::offset_of!(PenaltySide, partial) - 56usize];
    ["Offset of field: PenaltySide::row_partial"]
        [::core::mem::offset_of!(PenaltySide, row_partial) - 64usize];
    ["Offset of field: PenaltySide::count_partial"]
        [::core::mem::offset_of!(PenaltySide, count_partial) - 72usize];
    ["Offset of field: PenaltySide::stride"][::core::mem::offset_of!(PenaltySide, stride) - 80usize];
    ["Offset of field: PenaltySide::blocks"][::core::mem::offset_of!(PenaltySide, blocks) - 84usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Penalty {
    pub batch_rows: *const u32,
    pub arrived: *mut u32,
    pub losses: *mut f64,
    pub side: [PenaltySide; 2usize],
    pub strength: [f32; 2usize],
    pub form: u32,
    pub part: u32,
    pub width: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Penalty"][::core::mem::size_of::<Penalty>() - 224usize];
    ["Alignment of Penalty"][::core::mem::align_of::<Penalty>() - 8usize];
    ["Offset of field: Penalty::batch_rows"][::core::mem::offset_of!(Penalty, batch_rows) - 0usize];
    ["Offset of field: Penalty::arrived"][::core::mem::offset_of!(Penalty, arrived) - 8usize];
    ["Offset of field: Penalty::losses"][::core::mem::offset_of!(Penalty, losses) - 16usize];
    ["Offset of field: Penalty::side"][::core::mem::offset_of!(Penalty, side) - 24usize];
    ["Offset of field: Penalty::strength"][::core::mem::offset_of!(Penalty, strength) - 200usize];
    ["Offset of field: Penalty::form"][::core::mem::offset_of!(Penalty, form) - 208usize];
    ["Offset of field: Penalty::part"][::core::mem::offset_of!(Penalty, part) - 212usize];
    ["Offset of field: Penalty::width"][::core::mem::offset_of!(Penalty, width) - 216usize];
    ["Offset of field: Penalty::unused"][::core::mem::offset_of!(Penalty, unused) - 220usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ApplySide {
    pub table: Rows,
    pub touched: *const u32,
    pub starts: *const u32,
    pub samples: *const u32,
    pub slot: *const u32,
    pub count: *const u32,
    pub partner_slot: *const u32,
    pub own: *const f32,
    pub partners: *const f32,
    pub logit_gradient: *const f32,
    pub partial: *mut f32,
    pub partial_upstream: *mut f32,
    pub arrived: *mut u32,
    pub branch: *mut f32,
    pub branch_m: *mut f32,
    pub branch_v: *mut f32,
    pub dx: *const f32,
    pub gradient: *mut f32,
    pub logit_samples: u32,
    pub l2: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ApplySide"][::core::mem::size_of::<ApplySide>() - 184usize];
    ["Alignment of ApplySide"][::core::mem::align_of::<ApplySide>() - 8usize];
    ["Offset of field: ApplySide::table"][::core::mem::offset_of!(ApplySide, table) - 0usize];
    ["Offset of field: ApplySide::touched"][::core::mem::offset_of!(ApplySide, touched) - 40usize];
    ["Offset of field: ApplySide::starts"][::core::mem::offset_of!(ApplySide, starts) - 48usize];
    ["Offset of field: ApplySide::samples"][::core::mem::offset_of!(ApplySide, samples) - 56usize];
    ["Offset of field: ApplySide::slot"][::core::mem::offset_of!(ApplySide, slot) - 64usize];
    ["Offset of field: ApplySide::count"][::core::mem::offset_of!(ApplySide, count) - 72usize];
    ["Offset of field: ApplySide::partner_slot"][::core::mem::offset_of!(ApplySide, partner_slot) - 80usize];
    ["Offset of field: ApplySide::own"][::core::mem::offset_of!(ApplySide, own) - 88usize];
    ["Offset of field: ApplySide::partners"][::core::mem::offset_of!(ApplySide, partners) - 96usize];
    ["Offset of field: ApplySide::logit_gradient"]
        [::core::mem::offset_of!(ApplySide, logit_gradient) - 104usize];
    ["Offset of field: ApplySide::partial"][::core::mem::offset_of!(ApplySide, partial) - 112usize];
    ["Offset of field: ApplySide::partial_upstream"]
        [::core::mem::offset_of!(ApplySide, partial_upstream) - 120usize];
    ["Offset of field: ApplySide::arrived"][::core::mem::offset_of!(ApplySide, arrived) - 128usize];
    ["Offset of field: ApplySide::branch"][::core::mem::offset_of!(ApplySide, branch) - 136usize];
    ["Offset of field: ApplySide::branch_m"][::core::mem::offset_of!(ApplySide, branch_m) - 144usize];
    ["Offset of field: ApplySide::branch_v"][::core::mem::offset_of!(ApplySide, branch_v) - 152usize];
    ["Offset of field: ApplySide::dx"][::core::mem::offset_of!(ApplySide, dx) - 160usize];
    ["Offset of field: ApplySide::gradient"][::core::mem::offset_of!(ApplySide, gradient) - 168usize];
    ["Offset of field: ApplySide::logit_samples"]
        [::core::mem::offset_of!(ApplySide, logit_samples) - 176usize];
    ["Offset of field: ApplySide::l2"][::core::mem::offset_of!(ApplySide, l2) - 180usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GeneralSide {
    pub constants: *const f32,
    pub pull: *const f32,
    pub points: *const f32,
    pub bias: *mut f32,
    pub bias_m: *mut f32,
    pub bias_v: *mut f32,
    pub stride: u32,
    pub partner_stride: u32,
    pub penalty: u32,
    pub rows: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GeneralSide"][::core::mem::size_of::<GeneralSide>() - 64usize];
    ["Alignment of GeneralSide"][::core::mem::align_of::<GeneralSide>() - 8usize];
    ["Offset of field: GeneralSide::constants"][::core::mem::offset_of!(GeneralSide, constants) - 0usize];
    ["Offset of field: GeneralSide::pull"][::core::mem::offset_of!(GeneralSide, pull) - 8usize];
    ["Offset of field: GeneralSide::points"][::core::mem::offset_of!(GeneralSide, points) - 16usize];
    ["Offset of field: GeneralSide::bias"][::core::mem::offset_of!(GeneralSide, bias) - 24usize];
    ["Offset of field: GeneralSide::bias_m"][::core::mem::offset_of!(GeneralSide, bias_m) - 32usize];
    ["Offset of field: GeneralSide::bias_v"][::core::mem::offset_of!(GeneralSide, bias_v) - 40usize];
    ["Offset of field: GeneralSide::stride"][::core::mem::offset_of!(GeneralSide, stride) - 48usize];
    ["Offset of field: GeneralSide::partner_stride"]
        [::core::mem::offset_of!(GeneralSide, partner_stride) - 52usize];
    ["Offset of field: GeneralSide::penalty"][::core::mem::offset_of!(GeneralSide, penalty) - 56usize];
    ["Offset of field: GeneralSide::rows"][::core::mem::offset_of!(GeneralSide, rows) - 60usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Apply {
    pub step: *const u64,
    pub rows: *const u32,
    pub score_gradient: *const f32,
    pub branch_partial: *const f32,
    pub loss_partial: *const f64,
    pub l2_loss: *const f64,
    pub losses: *mut f64,
    pub side: [ApplySide; 2usize],
    pub adam: Optimiser,
    pub batch: u32,
    pub stride: u32,
    pub step_blocks: u32,
    pub gather_blocks: u32,
    pub user_windows: u32,
    pub item_slots: u32,
    pub user_slots: u32,
    pub bias_block: u32,
    pub second_gradient: *const f32,
    pub general: [GeneralSide; 2usize],
    pub part: u32,
    pub form: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Apply"][::core::mem::size_of::<Apply>() - 648usize];
    ["Alignment of Apply"][::core::mem::align_of::<Apply>() - 8usize];
    ["Offset of field: Apply::step"][::core::mem::offset_of!(Apply, step) - 0usize];
    ["Offset of field: Apply::rows"][::core::mem::offset_of!(Apply, rows) - 8usize];
    ["Offset of field: Apply::score_gradient"][::core::mem::offset_of!(Apply, score_gradient) - 16usize];
    ["Offset of field: Apply::branch_partial"][::core::mem::offset_of!(Apply, branch_partial) - 24usize];
    ["Offset of field: Apply::loss_partial"][::core::mem::offset_of!(Apply, loss_partial) - 32usize];
    ["Offset of field: Apply::l2_loss"][::core::mem::offset_of!(Apply, l2_loss) - 40usize];
    ["Offset of field: Apply::losses"][::core::mem::offset_of!(Apply, losses) - 48usize];
    ["Offset of field: Apply::side"][::core::mem::offset_of!(Apply, side) - 56usize];
    ["Offset of field: Apply::adam"][::core::mem::offset_of!(Apply, adam) - 424usize];
    ["Offset of field: Apply::batch"][::core::mem::offset_of!(Apply, batch) - 472usize];
    ["Offset of field: Apply::stride"][::core::mem::offset_of!(Apply, stride) - 476usize];
    ["Offset of field: Apply::step_blocks"][::core::mem::offset_of!(Apply, step_blocks) - 480usize];
    ["Offset of field: Apply::gather_blocks"][::core::mem::offset_of!(Apply, gather_blocks) - 484usize];
    ["Offset of field: Apply::user_windows"][::core::mem::offset_of!(Apply, user_windows) - 488usize];
    ["Offset of field: Apply::item_slots"][::core::mem::offset_of!(Apply, item_slots) - 492usize];
    ["Offset of field: Apply::user_slots"][::core::mem::offset_of!(Apply, user_slots) - 496usize];
    ["Offset of field: Apply::bias_block"][::core::mem::offset_of!(Apply, bias_block) - 500usize];
    ["Offset of field: Apply::second_gradient"][::core::mem::offset_of!(Apply, second_gradient) - 504usize];
    ["Offset of field: Apply::general"][::core::mem::offset_of!(Apply, general) - 512usize];
    ["Offset of field: Apply::part"][::core::mem::offset_of!(Apply, part) - 640usize];
    ["Offset of field: Apply::form"][::core::mem::offset_of!(Apply, form) - 644usize];
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
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Metrics {
    pub lists: *const u64,
    pub users: *const u32,
    pub offsets: *const u64,
    pub items: *const u32,
    pub cut: *const u32,
    pub ranks: *mut u16,
    pub listed: *mut u32,
    pub relevant: u64,
    pub cuts: u32,
    pub count: u32,
    pub variants: u32,
    pub k: u32,
    pub item_count: u32,
    pub unused: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Metrics"][::core::mem::size_of::<Metrics>() - 88usize];
    ["Alignment of Metrics"][::core::mem::align_of::<Metrics>() - 8usize];
    ["Offset of field: Metrics::lists"][::core::mem::offset_of!(Metrics, lists) - 0usize];
    ["Offset of field: Metrics::users"][::core::mem::offset_of!(Metrics, users) - 8usize];
    ["Offset of field: Metrics::offsets"][::core::mem::offset_of!(Metrics, offsets) - 16usize];
    ["Offset of field: Metrics::items"][::core::mem::offset_of!(Metrics, items) - 24usize];
    ["Offset of field: Metrics::cut"][::core::mem::offset_of!(Metrics, cut) - 32usize];
    ["Offset of field: Metrics::ranks"][::core::mem::offset_of!(Metrics, ranks) - 40usize];
    ["Offset of field: Metrics::listed"][::core::mem::offset_of!(Metrics, listed) - 48usize];
    ["Offset of field: Metrics::relevant"][::core::mem::offset_of!(Metrics, relevant) - 56usize];
    ["Offset of field: Metrics::cuts"][::core::mem::offset_of!(Metrics, cuts) - 64usize];
    ["Offset of field: Metrics::count"][::core::mem::offset_of!(Metrics, count) - 68usize];
    ["Offset of field: Metrics::variants"][::core::mem::offset_of!(Metrics, variants) - 72usize];
    ["Offset of field: Metrics::k"][::core::mem::offset_of!(Metrics, k) - 76usize];
    ["Offset of field: Metrics::item_count"][::core::mem::offset_of!(Metrics, item_count) - 80usize];
    ["Offset of field: Metrics::unused"][::core::mem::offset_of!(Metrics, unused) - 84usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Divergence {
    pub words: *const u32,
    pub found: *mut u32,
    pub length: u64,
    pub high: u32,
    pub low: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Divergence"][::core::mem::size_of::<Divergence>() - 32usize];
    ["Alignment of Divergence"][::core::mem::align_of::<Divergence>() - 8usize];
    ["Offset of field: Divergence::words"][::core::mem::offset_of!(Divergence, words) - 0usize];
    ["Offset of field: Divergence::found"][::core::mem::offset_of!(Divergence, found) - 8usize];
    ["Offset of field: Divergence::length"][::core::mem::offset_of!(Divergence, length) - 16usize];
    ["Offset of field: Divergence::high"][::core::mem::offset_of!(Divergence, high) - 24usize];
    ["Offset of field: Divergence::low"][::core::mem::offset_of!(Divergence, low) - 28usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct CeilingCopy {
    pub from: *const f32,
    pub to: *mut f32,
    pub length: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CeilingCopy"][::core::mem::size_of::<CeilingCopy>() - 24usize];
    ["Alignment of CeilingCopy"][::core::mem::align_of::<CeilingCopy>() - 8usize];
    ["Offset of field: CeilingCopy::from"][::core::mem::offset_of!(CeilingCopy, from) - 0usize];
    ["Offset of field: CeilingCopy::to"][::core::mem::offset_of!(CeilingCopy, to) - 8usize];
    ["Offset of field: CeilingCopy::length"][::core::mem::offset_of!(CeilingCopy, length) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct CeilingGather {
    pub table: *const f32,
    pub ids: *const u32,
    pub sums: *mut f32,
    pub groups: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of CeilingGather"][::core::mem::size_of::<CeilingGather>() - 32usize];
    ["Alignment of CeilingGather"][::core::mem::align_of::<CeilingGather>() - 8usize];
    ["Offset of field: CeilingGather::table"][::core::mem::offset_of!(CeilingGather, table) - 0usize];
    ["Offset of field: CeilingGather::ids"][::core::mem::offset_of!(CeilingGather, ids) - 8usize];
    ["Offset of field: CeilingGather::sums"][::core::mem::offset_of!(CeilingGather, sums) - 16usize];
    ["Offset of field: CeilingGather::groups"][::core::mem::offset_of!(CeilingGather, groups) - 24usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Finish {
    pub scale: *const f32,
    pub slot: *const u32,
    pub stored_base: *const ::core::ffi::c_void,
    pub base: *const f32,
    pub out: *mut f32,
    pub scaled: *mut ::core::ffi::c_void,
    pub table: Rows,
    pub step: *const u64,
    pub rows: *const u32,
    pub starts: *const u32,
    pub ego: *const f32,
    pub adam: Optimiser,
    pub factor: f32,
    pub l2: f32,
    pub base_by_slot: u32,
    pub out_by_slot: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Finish"][::core::mem::size_of::<Finish>() - 184usize];
    ["Alignment of Finish"][::core::mem::align_of::<Finish>() - 8usize];
    ["Offset of field: Finish::scale"][::core::mem::offset_of!(Finish, scale) - 0usize];
    ["Offset of field: Finish::slot"][::core::mem::offset_of!(Finish, slot) - 8usize];
    ["Offset of field: Finish::stored_base"][::core::mem::offset_of!(Finish, stored_base) - 16usize];
    ["Offset of field: Finish::base"][::core::mem::offset_of!(Finish, base) - 24usize];
    ["Offset of field: Finish::out"][::core::mem::offset_of!(Finish, out) - 32usize];
    ["Offset of field: Finish::scaled"][::core::mem::offset_of!(Finish, scaled) - 40usize];
    ["Offset of field: Finish::table"][::core::mem::offset_of!(Finish, table) - 48usize];
    ["Offset of field: Finish::step"][::core::mem::offset_of!(Finish, step) - 88usize];
    ["Offset of field: Finish::rows"][::core::mem::offset_of!(Finish, rows) - 96usize];
    ["Offset of field: Finish::starts"][::core::mem::offset_of!(Finish, starts) - 104usize];
    ["Offset of field: Finish::ego"][::core::mem::offset_of!(Finish, ego) - 112usize];
    ["Offset of field: Finish::adam"][::core::mem::offset_of!(Finish, adam) - 120usize];
    ["Offset of field: Finish::factor"][::core::mem::offset_of!(Finish, factor) - 168usize];
    ["Offset of field: Finish::l2"][::core::mem::offset_of!(Finish, l2) - 172usize];
    ["Offset of field: Finish::base_by_slot"][::core::mem::offset_of!(Finish, base_by_slot) - 176usize];
    ["Offset of field: Finish::out_by_slot"][::core::mem::offset_of!(Finish, out_by_slot) - 180usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct MarkSide {
    pub touched: *const u32,
    pub count: *const u32,
    pub slot: *mut u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MarkSide"][::core::mem::size_of::<MarkSide>() - 24usize];
    ["Alignment of MarkSide"][::core::mem::align_of::<MarkSide>() - 8usize];
    ["Offset of field: MarkSide::touched"][::core::mem::offset_of!(MarkSide, touched) - 0usize];
    ["Offset of field: MarkSide::count"][::core::mem::offset_of!(MarkSide, count) - 8usize];
    ["Offset of field: MarkSide::slot"][::core::mem::offset_of!(MarkSide, slot) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Mark {
    pub side: [MarkSide; 2usize],
    pub item_block: u32,
    pub set: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Mark"][::core::mem::size_of::<Mark>() - 56usize];
    ["Alignment of Mark"][::core::mem::align_of::<Mark>() - 8usize];
    ["Offset of field: Mark::side"][::core::mem::offset_of!(Mark, side) - 0usize];
    ["Offset of field: Mark::item_block"][::core::mem::offset_of!(Mark, item_block) - 48usize];
    ["Offset of field: Mark::set"][::core::mem::offset_of!(Mark, set) - 52usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct SpmmSide {
    pub units: *const u32,
    pub parts: *const u32,
    pub partners: *const ::core::ffi::c_void,
    pub x: *const ::core::ffi::c_void,
    pub x_slot: *const u32,
    pub x_scale: *const f32,
    pub partial: *mut f32,
    pub arrived: *mut u32,
    pub finish: Finish,
    pub count: u32,
    pub narrow: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SpmmSide"][::core::mem::size_of::<SpmmSide>() - 256usize];
    ["Alignment of SpmmSide"][::core::mem::align_of::<SpmmSide>() - 8usize];
    ["Offset of field: SpmmSide::units"][::core::mem::offset_of!(SpmmSide, units) - 0usize];
    ["Offset of field: SpmmSide::parts"][::core::mem::offset_of!(SpmmSide, parts) - 8usize];
    ["Offset of field: SpmmSide::partners"][::core::mem::offset_of!(SpmmSide, partners) - 16usize];
    ["Offset of field: SpmmSide::x"][::core::mem::offset_of!(SpmmSide, x) - 24usize];
    ["Offset of field: SpmmSide::x_slot"][::core::mem::offset_of!(SpmmSide, x_slot) - 32usize];
    ["Offset of field: SpmmSide::x_scale"][::core::mem::offset_of!(SpmmSide, x_scale) - 40usize];
    ["Offset of field: SpmmSide::partial"][::core::mem::offset_of!(SpmmSide, partial) - 48usize];
    ["Offset of field: SpmmSide::arrived"][::core::mem::offset_of!(SpmmSide, arrived) - 56usize];
    ["Offset of field: SpmmSide::finish"][::core::mem::offset_of!(SpmmSide, finish) - 64usize];
    ["Offset of field: SpmmSide::count"][::core::mem::offset_of!(SpmmSide, count) - 248usize];
    ["Offset of field: SpmmSide::narrow"][::core::mem::offset_of!(SpmmSide, narrow) - 252usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Spmm {
    pub side: [SpmmSide; 2usize],
    pub user_block: u32,
    pub stride: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Spmm"][::core::mem::size_of::<Spmm>() - 520usize];
    ["Alignment of Spmm"][::core::mem::align_of::<Spmm>() - 8usize];
    ["Offset of field: Spmm::side"][::core::mem::offset_of!(Spmm, side) - 0usize];
    ["Offset of field: Spmm::user_block"][::core::mem::offset_of!(Spmm, user_block) - 512usize];
    ["Offset of field: Spmm::stride"][::core::mem::offset_of!(Spmm, stride) - 516usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct Gram {
    pub g: *const f32,
    pub x: *const ::core::ffi::c_void,
    pub x_slot: *const u32,
    pub ids: *const u32,
    pub count: *const u32,
    pub partial: *mut f32,
    pub arrived: *mut u32,
    pub finish: Finish,
    pub items: u32,
    pub pitch: u32,
    pub stride: u32,
    pub most_rows: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Gram"][::core::mem::size_of::<Gram>() - 256usize];
    ["Alignment of Gram"][::core::mem::align_of::<Gram>() - 8usize];
    ["Offset of field: Gram::g"][::core::mem::offset_of!(Gram, g) - 0usize];
    ["Offset of field: Gram::x"][::core::mem::offset_of!(Gram, x) - 8usize];
    ["Offset of field: Gram::x_slot"][::core::mem::offset_of!(Gram, x_slot) - 16usize];
    ["Offset of field: Gram::ids"][::core::mem::offset_of!(Gram, ids) - 24usize];
    ["Offset of field: Gram::count"][::core::mem::offset_of!(Gram, count) - 32usize];
    ["Offset of field: Gram::partial"][::core::mem::offset_of!(Gram, partial) - 40usize];
    ["Offset of field: Gram::arrived"][::core::mem::offset_of!(Gram, arrived) - 48usize];
    ["Offset of field: Gram::finish"][::core::mem::offset_of!(Gram, finish) - 56usize];
    ["Offset of field: Gram::items"][::core::mem::offset_of!(Gram, items) - 240usize];
    ["Offset of field: Gram::pitch"][::core::mem::offset_of!(Gram, pitch) - 244usize];
    ["Offset of field: Gram::stride"][::core::mem::offset_of!(Gram, stride) - 248usize];
    ["Offset of field: Gram::most_rows"][::core::mem::offset_of!(Gram, most_rows) - 252usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GramSide {
    pub offsets: *const u64,
    pub partners: *const ::core::ffi::c_void,
    pub scale: *const f32,
    pub narrow: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GramSide"][::core::mem::size_of::<GramSide>() - 32usize];
    ["Alignment of GramSide"][::core::mem::align_of::<GramSide>() - 8usize];
    ["Offset of field: GramSide::offsets"][::core::mem::offset_of!(GramSide, offsets) - 0usize];
    ["Offset of field: GramSide::partners"][::core::mem::offset_of!(GramSide, partners) - 8usize];
    ["Offset of field: GramSide::scale"][::core::mem::offset_of!(GramSide, scale) - 16usize];
    ["Offset of field: GramSide::narrow"][::core::mem::offset_of!(GramSide, narrow) - 24usize];
    ["Offset of field: GramSide::padding"][::core::mem::offset_of!(GramSide, padding) - 28usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct GramProduct {
    pub users: GramSide,
    pub items: GramSide,
    pub g: *mut f32,
    pub pitch: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GramProduct"][::core::mem::size_of::<GramProduct>() - 80usize];
    ["Alignment of GramProduct"][::core::mem::align_of::<GramProduct>() - 8usize];
    ["Offset of field: GramProduct::users"][::core::mem::offset_of!(GramProduct, users) - 0usize];
    ["Offset of field: GramProduct::items"][::core::mem::offset_of!(GramProduct, items) - 32usize];
    ["Offset of field: GramProduct::g"][::core::mem::offset_of!(GramProduct, g) - 64usize];
    ["Offset of field: GramProduct::pitch"][::core::mem::offset_of!(GramProduct, pitch) - 72usize];
    ["Offset of field: GramProduct::padding"][::core::mem::offset_of!(GramProduct, padding) - 76usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfDensity {
    pub ln_c: f32,
    pub half: f32,
    pub ln_epsilon: f32,
    pub epsilon: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfDensity"][::core::mem::size_of::<ExpomfDensity>() - 16usize];
    ["Alignment of ExpomfDensity"][::core::mem::align_of::<ExpomfDensity>() - 4usize];
    ["Offset of field: ExpomfDensity::ln_c"][::core::mem::offset_of!(ExpomfDensity, ln_c) - 0usize];
    ["Offset of field: ExpomfDensity::half"][::core::mem::offset_of!(ExpomfDensity, half) - 4usize];
    ["Offset of field: ExpomfDensity::ln_epsilon"]
        [::core::mem::offset_of!(ExpomfDensity, ln_epsilon) - 8usize];
    ["Offset of field: ExpomfDensity::epsilon"][::core::mem::offset_of!(ExpomfDensity, epsilon) - 12usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfScores {
    pub own: *const f32,
    pub other: *const f32,
    pub own_logit: *const f32,
    pub other_logit: *const f32,
    pub exposure: *mut f32,
    pub sums: *mut f64,
    pub density: ExpomfDensity,
    pub rows: u32,
    pub others: u32,
    pub first: u32,
    pub pitch: u32,
    pub stride: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfScores"][::core::mem::size_of::<ExpomfScores>() - 88usize];
    ["Alignment of ExpomfScores"][::core::mem::align_of::<ExpomfScores>() - 8usize];
    ["Offset of field: ExpomfScores::own"][::core::mem::offset_of!(ExpomfScores, own) - 0usize];
    ["Offset of field: ExpomfScores::other"][::core::mem::offset_of!(ExpomfScores, other) - 8usize];
    ["Offset of field: ExpomfScores::own_logit"][::core::mem::offset_of!(ExpomfScores, own_logit) - 16usize];
    ["Offset of field: ExpomfScores::other_logit"]
        [::core::mem::offset_of!(ExpomfScores, other_logit) - 24usize];
    ["Offset of field: ExpomfScores::exposure"][::core::mem::offset_of!(ExpomfScores, exposure) - 32usize];
    ["Offset of field: ExpomfScores::sums"][::core::mem::offset_of!(ExpomfScores, sums) - 40usize];
    ["Offset of field: ExpomfScores::density"][::core::mem::offset_of!(ExpomfScores, density) - 48usize];
    ["Offset of field: ExpomfScores::rows"][::core::mem::offset_of!(ExpomfScores, rows) - 64usize];
    ["Offset of field: ExpomfScores::others"][::core::mem::offset_of!(ExpomfScores, others) - 68usize];
    ["Offset of field: ExpomfScores::first"][::core::mem::offset_of!(ExpomfScores, first) - 72usize];
    ["Offset of field: ExpomfScores::pitch"][::core::mem::offset_of!(ExpomfScores, pitch) - 76usize];
    ["Offset of field: ExpomfScores::stride"][::core::mem::offset_of!(ExpomfScores, stride) - 80usize];
    ["Offset of field: ExpomfScores::padding"][::core::mem::offset_of!(ExpomfScores, padding) - 84usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfMark {
    pub offsets: *const u64,
    pub positives: *const u32,
    pub exposure: *mut f32,
    pub first: u32,
    pub count: u32,
    pub pitch: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfMark"][::core::mem::size_of::<ExpomfMark>() - 40usize];
    ["Alignment of ExpomfMark"][::core::mem::align_of::<ExpomfMark>() - 8usize];
    ["Offset of field: ExpomfMark::offsets"][::core::mem::offset_of!(ExpomfMark, offsets) - 0usize];
    ["Offset of field: ExpomfMark::positives"][::core::mem::offset_of!(ExpomfMark, positives) - 8usize];
    ["Offset of field: ExpomfMark::exposure"][::core::mem::offset_of!(ExpomfMark, exposure) - 16usize];
    ["Offset of field: ExpomfMark::first"][::core::mem::offset_of!(ExpomfMark, first) - 24usize];
    ["Offset of field: ExpomfMark::count"][::core::mem::offset_of!(ExpomfMark, count) - 28usize];
    ["Offset of field: ExpomfMark::pitch"][::core::mem::offset_of!(ExpomfMark, pitch) - 32usize];
    ["Offset of field: ExpomfMark::padding"][::core::mem::offset_of!(ExpomfMark, padding) - 36usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfNormal {
    pub exposure: *const f32,
    pub other: *const f32,
    pub matrices: *mut f32,
    pub others: u32,
    pub pitch: u32,
    pub columns: u32,
    pub dim: u32,
    pub stride: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfNormal"][::core::mem::size_of::<ExpomfNormal>() - 48usize];
    ["Alignment of ExpomfNormal"][::core::mem::align_of::<ExpomfNormal>() - 8usize];
    ["Offset of field: ExpomfNormal::exposure"][::core::mem::offset_of!(ExpomfNormal, exposure) - 0usize];
    ["Offset of field: ExpomfNormal::other"][::core::mem::offset_of!(ExpomfNormal, other) - 8usize];
    ["Offset of field: ExpomfNormal::matrices"][::core::mem::offset_of!(ExpomfNormal, matrices) - 16usize];
    ["Offset of field: ExpomfNormal::others"][::core::mem::offset_of!(ExpomfNormal, others) - 24usize];
    ["Offset of field: ExpomfNormal::pitch"][::core::mem::offset_of!(ExpomfNormal, pitch) - 28usize];
    ["Offset of field: ExpomfNormal::columns"][::core::mem::offset_of!(ExpomfNormal, columns) - 32usize];
    ["Offset of field: ExpomfNormal::dim"][::core::mem::offset_of!(ExpomfNormal, dim) - 36usize];
    ["Offset of field: ExpomfNormal::stride"][::core::mem::offset_of!(ExpomfNormal, stride) - 40usize];
    ["Offset of field: ExpomfNormal::padding"][::core::mem::offset_of!(ExpomfNormal, padding) - 44usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfSolve {
    pub matrices: *const f32,
    pub other: *const f32,
    pub offsets: *const u64,
    pub positives: *const u32,
    pub table: *mut f32,
    pub failed: *mut u32,
    pub ridge: f32,
    pub first: u32,
    pub columns: u32,
    pub dim: u32,
    pub stride: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfSolve"][::core::mem::size_of::<ExpomfSolve>() - 72usize];
    ["Alignment of ExpomfSolve"][::core::mem::align_of::<ExpomfSolve>() - 8usize];
    ["Offset of field: ExpomfSolve::matrices"][::core::mem::offset_of!(ExpomfSolve, matrices) - 0usize];
    ["Offset of field: ExpomfSolve::other"][::core::mem::offset_of!(ExpomfSolve, other) - 8usize];
    ["Offset of field: ExpomfSolve::offsets"][::core::mem::offset_of!(ExpomfSolve, offsets) - 16usize];
    ["Offset of field: ExpomfSolve::positives"][::core::mem::offset_of!(ExpomfSolve, positives) - 24usize];
    ["Offset of field: ExpomfSolve::table"][::core::mem::offset_of!(ExpomfSolve, table) - 32usize];
    ["Offset of field: ExpomfSolve::failed"][::core::mem::offset_of!(ExpomfSolve, failed) - 40usize];
    ["Offset of field: ExpomfSolve::ridge"][::core::mem::offset_of!(ExpomfSolve, ridge) - 48usize];
    ["Offset of field: ExpomfSolve::first"][::core::mem::offset_of!(ExpomfSolve, first) - 52usize];
    ["Offset of field: ExpomfSolve::columns"][::core::mem::offset_of!(ExpomfSolve, columns) - 56usize];
    ["Offset of field: ExpomfSolve::dim"][::core::mem::offset_of!(ExpomfSolve, dim) - 60usize];
    ["Offset of field: ExpomfSolve::stride"][::core::mem::offset_of!(ExpomfSolve, stride) - 64usize];
    ["Offset of field: ExpomfSolve::padding"][::core::mem::offset_of!(ExpomfSolve, padding) - 68usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfItem {
    pub theta: *const f32,
    pub beta: *const f32,
    pub offsets: *const u64,
    pub users_of: *const u32,
    pub sums: *const f64,
    pub mu: *mut f32,
    pub logit: *mut f32,
    pub posterior: *mut f64,
    pub a0: f64,
    pub b0: f64,
    pub ln_c: f64,
    pub density: ExpomfDensity,
    pub users: u32,
    pub items: u32,
    pub spans: u32,
    pub stride: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfItem"][::core::mem::size_of::<ExpomfItem>() - 120usize];
    ["Alignment of ExpomfItem"][::core::mem::align_of::<ExpomfItem>() - 8usize];
    ["Offset of field: ExpomfItem::theta"][::core::mem::offset_of!(ExpomfItem, theta) - 0usize];
    ["Offset of field: ExpomfItem::beta"][::core::mem::offset_of!(ExpomfItem, beta) - 8usize];
    ["Offset of field: ExpomfItem::offsets"][::core::mem::offset_of!(ExpomfItem, offsets) - 16usize];
    ["Offset of field: ExpomfItem::users_of"][::core::mem::offset_of!(ExpomfItem, users_of) - 24usize];
    ["Offset of field: ExpomfItem::sums"][::core::mem::offset_of!(ExpomfItem, sums) - 32usize];
    ["Offset of field: ExpomfItem::mu"][::core::mem::offset_of!(ExpomfItem, mu) - 40usize];
    ["Offset of field: ExpomfItem::logit"][::core::mem::offset_of!(ExpomfItem, logit) - 48usize];
    ["Offset of field: ExpomfItem::posterior"][::core::mem::offset_of!(ExpomfItem, posterior) - 56usize];
    ["Offset of field: ExpomfItem::a0"][::core::mem::offset_of!(ExpomfItem, a0) - 64usize];
    ["Offset of field: ExpomfItem::b0"][::core::mem::offset_of!(ExpomfItem, b0) - 72usize];
    ["Offset of field: ExpomfItem::ln_c"][::core::mem::offset_of!(ExpomfItem, ln_c) - 80usize];
    ["Offset of field: ExpomfItem::density"][::core::mem::offset_of!(ExpomfItem, density) - 88usize];
    ["Offset of field: ExpomfItem::users"][::core::mem::offset_of!(ExpomfItem, users) - 104usize];
    ["Offset of field: ExpomfItem::items"][::core::mem::offset_of!(ExpomfItem, items) - 108usize];
    ["Offset of field: ExpomfItem::spans"][::core::mem::offset_of!(ExpomfItem, spans) - 112usize];
    ["Offset of field: ExpomfItem::stride"][::core::mem::offset_of!(ExpomfItem, stride) - 116usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct ExpomfPosterior {
    pub posterior: *const f64,
    pub theta: *const f32,
    pub beta: *const f32,
    pub failed: *const u32,
    pub out: *mut f64,
    pub lambda_theta: f64,
    pub lambda_beta: f64,
    pub users: u32,
    pub items: u32,
    pub stride: u32,
    pub padding: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ExpomfPosterior"][::core::mem::size_of::<ExpomfPosterior>() - 72usize];
    ["Alignment of ExpomfPosterior"][::core::mem::align_of::<ExpomfPosterior>() - 8usize];
    ["Offset of field: ExpomfPosterior::posterior"]
        [::core::mem::offset_of!(ExpomfPosterior, posterior) - 0usize];
    ["Offset of field: ExpomfPosterior::theta"][::core::mem::offset_of!(ExpomfPosterior, theta) - 8usize];
    ["Offset of field: ExpomfPosterior::beta"][::core::mem::offset_of!(ExpomfPosterior, beta) - 16usize];
    ["Offset of field: ExpomfPosterior::failed"][::core::mem::offset_of!(ExpomfPosterior, failed) - 24usize];
    ["Offset of field: ExpomfPosterior::out"][::core::mem::offset_of!(ExpomfPosterior, out) - 32usize];
    ["Offset of field: ExpomfPosterior::lambda_theta"]
        [::core::mem::offset_of!(ExpomfPosterior, lambda_theta) - 40usize];
    ["Offset of field: ExpomfPosterior::lambda_beta"]
        [::core::mem::offset_of!(ExpomfPosterior, lambda_beta) - 48usize];
    ["Offset of field: ExpomfPosterior::users"][::core::mem::offset_of!(ExpomfPosterior, users) - 56usize];
    ["Offset of field: ExpomfPosterior::items"][::core::mem::offset_of!(ExpomfPosterior, items) - 60usize];
    ["Offset of field: ExpomfPosterior::stride"][::core::mem::offset_of!(ExpomfPosterior, stride) - 64usize];
    ["Offset of field: ExpomfPosterior::padding"]
        [::core::mem::offset_of!(ExpomfPosterior, padding) - 68usize];
};

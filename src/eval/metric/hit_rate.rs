//! Hit rate.

use super::UserList;

/// 1 if the list has a relevant item, else 0; its mean is the share of users with a hit.
pub(super) fn hit_rate(list: &UserList<'_>) -> f64 {
    f64::from(u8::from(!list.hits.is_empty()))
}

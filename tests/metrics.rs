//! Every metric by hand.

use macr::eval::{
    GroupBy,
    metric::{AllLists, LIST_METRICS, USER_METRICS, UserList, ideal},
};

fn user(name: &str, hits: &[u32], relevant: usize, k: usize) -> f64 {
    let metric = USER_METRICS.iter().find(|m| m.name == name).unwrap();
    (metric.value)(&UserList { hits, relevant, k, ideal: &ideal(k) })
}

fn lists(name: &str, frequency: &[u32], popularity: &[u32]) -> f64 {
    let metric = LIST_METRICS.iter().find(|m| m.name == name).unwrap();
    (metric.value)(&AllLists { frequency, popularity })
}

#[track_caller]
fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

#[test]
fn hit_rate() {
    close(user("hit_rate", &[], 3, 5), 0.0);
    close(user("hit_rate", &[2, 5], 3, 5), 1.0);
}

#[test]
fn recall_is_over_all_relevant_items() {
    close(user("recall", &[2, 5], 3, 5), 2.0 / 3.0);
    // Even where more are relevant than fit: at most K / relevant.
    close(user("recall", &[1, 2], 4, 2), 0.5);
    close(user("recall", &[], 4, 2), 0.0);
}

#[test]
fn precision_is_over_k() {
    close(user("precision", &[2, 5], 3, 5), 0.4);
    close(user("precision", &[1], 1, 20), 0.05);
}

#[test]
fn ndcg_is_over_the_best_possible_list() {
    // Ranks 2 and 5 of 3 relevant: (1/log2 3 + 1/log2 6) / (1 + 1/log2 3 + 1/2).
    close(user("ndcg", &[2, 5], 3, 5), (0.6309297535714575 + 0.38685280723454163) / 2.1309297535714578);
    close(user("ndcg", &[1, 2, 3], 3, 5), 1.0);
    // Ten relevant, two places: the best list has two.
    close(user("ndcg", &[1, 2], 10, 2), 1.0);
    close(user("ndcg", &[2], 10, 2), 0.6309297535714575 / 1.6309297535714575);
    close(user("ndcg", &[], 1, 2), 0.0);
}

#[test]
fn mrr_is_cut_at_k() {
    close(user("mrr", &[4, 5], 2, 5), 0.25);
    close(user("mrr", &[], 2, 5), 0.0);
}

#[test]
fn map_is_over_min_k_relevant() {
    // Precision 1/2 at rank 2 and 2/5 at rank 5, over 3 relevant.
    close(user("map", &[2, 5], 3, 5), (0.5 + 0.4) / 3.0);
    close(user("map", &[1, 2], 10, 2), 1.0);
    close(user("map", &[3], 10, 4), 1.0 / 3.0 / 4.0);
}

#[test]
fn coverage() {
    close(lists("coverage", &[0, 3, 0, 1], &[0; 4]), 0.5);
}

#[test]
fn gini() {
    close(lists("gini", &[5, 5, 5, 5], &[0; 4]), 0.0);
    close(lists("gini", &[0, 8, 0, 0], &[0; 4]), 0.75);
    // Ascending 0, 1, 3: (-2 * 0 + 0 * 1 + 2 * 3) / (3 * 4).
    close(lists("gini", &[3, 0, 1], &[0; 3]), 0.5);
    close(lists("gini", &[0, 0], &[0; 2]), 0.0);
}

#[test]
fn average_popularity_is_over_places() {
    close(lists("arp", &[2, 0, 1], &[10, 99, 40]), 20.0);
    close(lists("arp", &[0, 0], &[1, 2]), 0.0);
}

#[test]
fn the_long_tail_is_what_the_most_popular_items_leave() {
    // Of 10 interactions the first two items have 8; the item of 1 is the tail, with 3 of 6 places.
    close(lists("aplt", &[2, 1, 3, 0], &[5, 3, 1, 1]), 0.5);
    // As popular as the last of the head: no tail.
    close(lists("aplt", &[1, 1], &[1, 1]), 0.0);
    close(lists("aplt", &[0, 0], &[5, 1]), 0.0);
}

#[test]
fn groups_by_counts() {
    let groups = GroupBy::Counts.group(&[0, 10, 11, 50, 51, 100, 101, 200, 201, 500, 501]);
    assert_eq!(groups.of, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
    assert_eq!(groups.names, ["<=10", "<=50", "<=100", "<=200", "<=500", ">500"]);
}

#[test]
fn groups_by_deciles() {
    let popularity: Vec<u32> = (0..20).rev().collect();
    let groups = GroupBy::Deciles.group(&popularity);
    let expected: Vec<u8> = (0..20).map(|item| (19 - item) / 2).collect();
    assert_eq!(groups.of, expected);
    // Equal popularity: by id. Fewer items than groups leave groups empty.
    assert_eq!(GroupBy::Deciles.group(&[7, 7]).of, [0, 5]);
}

//! `macr recommend`: what the lists leave out.

mod command;

use command::Place;
use macr::{Interactions, Split};

#[test]
fn lists_can_be_measured_on_the_test_split() {
    let place = Place::with_run();
    let data = Interactions::open(place.path("data.macr")).unwrap();
    let test = data.by_user(Split::Test);
    let hit_rate = |lists: &str| {
        let mut hit = vec![false; data.users() as usize];
        for line in lists.lines().skip(1) {
            let mut ids = line.split('\t').map(|id| id.parse::<f64>().unwrap() as u32);
            let (user, item) = (ids.next().unwrap(), ids.next().unwrap());
            hit[user as usize] |= test.row(user).contains(&item);
        }
        let users = (0..data.users()).filter(|&user| test.degree(user) > 0).count();
        hit.into_iter().filter(|&hit| hit).count() as f64 / users as f64
    };
    let recommend = ["recommend", "run", "--data", "data.macr", "-k", "5"];
    for (seen, more) in [("train", &[][..]), ("train,valid", &["--mask-valid"])] {
        let evaluate = ["evaluate", "run", "--data", "data.macr", "-k", "5", "--json"];
        let found: serde_json::Value = serde_json::from_str(&place.works(&evaluate, more)).unwrap();
        let lists = place.run(&[&recommend[..], &["--seen", seen]].concat());
        let expected = found["results"][0]["hit_rate"].as_f64().unwrap();
        assert!(expected > 0.0 && (hit_rate(&lists.out) - expected).abs() < 1e-12, "{seen}");
        assert_eq!(lists.err, "");
    }
    // A service shows nothing that its users have.
    let lists = place.run(&recommend);
    assert_eq!(hit_rate(&lists.out), 0.0);
    assert!(lists.err.contains("items of the test split are left out too"), "{}", lists.err);
}

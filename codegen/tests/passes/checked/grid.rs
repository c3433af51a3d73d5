//! Right programs: trip counts around the ring's size, items per CTA, tails, all adversaries.

use super::rig::{self, BK, chain, checked, plain, under};
use tile_lang::sim::checked::Strategy;

/// Slots of the ring.
const SLOTS: usize = 3;
/// CTAs.
const CTAS: usize = 2;

/// Runs a chain under one adversary after another and compares with the plain simulator.
fn agrees(n: usize, k: usize, slots: usize, ctas: usize, seed: u64) {
    let plan = chain(n, k, 2);
    let protocol = rig::protocol(&plan, slots);
    let want = plain(&plan, 3);
    for (i, strategy) in Strategy::ALL.into_iter().enumerate() {
        let got = checked(&plan, &protocol, 3, under(strategy, seed + i as u64, ctas));
        let got = got.unwrap_or_else(|trap| panic!("n {n}, k {k}, {slots} slots, {ctas} CTAs: {trap}"));
        assert_eq!(got, want, "n {n}, k {k}, {slots} slots, {ctas} CTAs: {strategy}, seed {seed}");
    }
}

/// Trips {0, 1, S − 1, S, S + 1, 2S, 2S + 1} × tiles of a CTA {1, 2, 3} × whole and ragged rows and terms.
#[test]
fn the_grid_of_trips_tiles_and_tails() {
    for trips in [0, 1, SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS, 2 * SLOTS + 1] {
        for tiles in 1..=3 {
            for tail in [0, 8] {
                let k = (trips * BK).saturating_sub(tail);
                let n = tiles * CTAS * 16 - tail;
                agrees(n, k, SLOTS, CTAS, (trips * 100 + tiles * 10 + tail) as u64);
            }
        }
    }
}

#[test]
fn rings_of_one_and_two_slots_and_odd_numbers_of_ctas() {
    for slots in [1, 2] {
        for ctas in [1, 3, 5] {
            agrees(7 * 16, 5 * BK, slots, ctas, 5);
        }
    }
}

#[test]
fn the_same_seed_takes_the_same_way() {
    let plan = chain(64, 5 * BK, 2);
    let mut protocol = rig::protocol(&plan, SLOTS);
    protocol.frame.producer_depends.clear();
    let message = |seed| checked(&plan, &protocol, 2, under(Strategy::Random, seed, 2)).unwrap_err().to_string();
    assert_eq!(message(3), message(3));
    assert_ne!(message(3), message(4));
}

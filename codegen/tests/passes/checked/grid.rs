//! Right programs: trip counts around the ring's size, items per CTA, tails, all adversaries.

use super::rig::{self, BK, chain, checked, plain, under};
use tile_lang::sim::checked::Strategy;

#[test]
fn a_chain_runs_under_every_adversary() {
    let plan = chain(64, 5 * BK - 8, 3);
    let protocol = rig::protocol(&plan, 3);
    let want = plain(&plan, 5);
    for strategy in Strategy::ALL {
        for seed in 0..3 {
            let got = checked(&plan, &protocol, 5, under(strategy, seed, 2));
            let got = got.unwrap_or_else(|trap| panic!("{trap}"));
            assert_eq!(got, want, "{strategy}, seed {seed}");
        }
    }
}

//! Roles and rings: what each role keeps, how staged loads share slots, what can't be staged.

use crate::kernels;
use tile_codegen::passes::{lower_to_roles, ring_groups};

#[test]
fn the_producer_keeps_only_what_its_copies_need() {
    let kernel = kernels::scaled::instance(128).unwrap();
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    insta::assert_snapshot!(format!("{lowered:#}"));
}

#[test]
fn loads_of_one_block_share_a_slot_up_to_its_size() {
    let kernel = kernels::three::instance(128).unwrap();
    let parts = |bytes| ring_groups(&kernel, bytes).unwrap().iter().map(|g| g.parts.len()).collect::<Vec<_>>();
    assert_eq!(parts(16_384), [2, 1]);
    assert_eq!(parts(4_096), [1, 1, 1]);
    let lowered = lower_to_roles(&kernel, 16_384).unwrap();
    insta::assert_snapshot!(format!("{lowered:#}"));
}

#[test]
fn a_tile_larger_than_any_slot_is_an_error_at_its_line() {
    let kernel = kernels::scaled::instance(4096).unwrap();
    let error = lower_to_roles(&kernel, 16_384).unwrap_err().to_string();
    assert!(error.contains("error[E21]: this staged tile takes 131072 bytes, a ring slot can have 65536"), "{error}");
    assert!(error.contains("codegen/tests/passes/kernels.rs:17"), "{error}");
}

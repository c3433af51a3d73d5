//! What the device suite does with whole models, with the simulator in the device's place.

use std::path::{Path, PathBuf};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::graph::GraphOptions;
use tile_tests::model::Model;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/golden").join(name)
}

#[test]
fn texts_of_two_devices_are_compared_token_by_token() {
    let model = Model::open(&folder("mimo-nano-mxfp4")).unwrap();
    let plan = model.plan(GraphOptions { context: 128, ..GraphOptions::default() }).unwrap();
    assert!(Model::weight_bytes(&plan) > 0);
    let (mut a, mut b) = (model.sim(plan.clone()).unwrap(), model.sim(plan.clone()).unwrap());
    let (same, texts) = model.agree(&mut a, &mut b, 12).unwrap();
    assert_eq!((same.wrong, same.excused, same.compared), (0, 0, 12 * texts.len()));
    // A device with another final norm writes other texts.
    let mut other = plan;
    let norm = other.weights.iter().position(|w| w.name == "norm").unwrap();
    other.weights[norm].name = "layers.0.attention_norm".into();
    let mut wrong = SimExecutor::new(other, &model.source().unwrap(), Precision::Native).unwrap();
    let (parted, _) = model.agree(&mut a, &mut wrong, 12).unwrap();
    assert!(parted.wrong > 0 && parted.largest_margin > 0.0, "{parted:?}");
    assert!(model.verify(&mut a).unwrap().passed());
    assert!(!model.verify(&mut wrong).unwrap().passed());
}

//! What the library picks tiles and schedules by is what sweeps measured.

use std::ops::ControlFlow;
use std::path::Path;
use tile_lang::exec::Executor;
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::picks::{MEASURED, Measured, measured};
use tile_tests::cases::sweep::{small, sweeps};
use tile_tests::compare::compare;
use tile_tests::results::{Row, files, read};

/// A row of a sweep as the library keeps it; of several runs of one variant the last one counts.
fn distilled(row: &Row) -> Measured {
    let field = |name: &str| row.more.get(name).unwrap_or_else(|| panic!("{}: no `{name}`", row.shape));
    let three = |name: &str| serde_json::from_value::<[usize; 3]>(field(name).clone()).unwrap();
    let generics = field("generics").as_object().unwrap().iter();
    Measured {
        kernel: row.work.clone(),
        extents: three("extents"),
        tile: three("tile"),
        generics: generics.map(|(n, v)| (n.clone(), v.as_u64().unwrap() as usize)).collect(),
        schedule: field("schedule").as_str().unwrap().into(),
        us: row.us.unwrap(),
        machine: row.machine.split_once(' ').map_or("", |(_, name)| name).into(),
        date: row.date.split('T').next().unwrap_or_default().into(),
        ptx_sha256: row.ptx_sha256.clone(),
    }
}

#[test]
fn picks_are_made_from_the_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all: Vec<Measured> = Vec::new();
    for file in files(&root.join("results"), "sweep") {
        for row in read(&file).unwrap() {
            let new = distilled(&row);
            let same = |m: &Measured| {
                (&m.kernel, m.extents, m.tile, &m.schedule) == (&new.kernel, new.extents, new.tile, &new.schedule)
            };
            all.retain(|m| !same(m));
            all.push(new);
        }
    }
    let text: String = all.iter().map(|m| serde_json::to_string(m).unwrap() + "\n").collect();
    if std::env::var_os("UPDATE_PRINTED").is_some() {
        std::fs::write(root.join("../models/src/picks/measured.jsonl"), text).unwrap();
        return;
    }
    assert!(text == MEASURED, "models/src/picks/measured.jsonl is not made from tests/results; say UPDATE_PRINTED=1");
    assert!(!all.is_empty() && all == measured());
    // Every sweep was run, and schedules that were measured are there still.
    for sweep in sweeps() {
        let own = all.iter().filter(|m| m.kernel == sweep.kernel() && m.extents == sweep.extents).count();
        assert!(own >= 2, "{}: {own} variants measured", sweep.name());
    }
    let known = |m: &Measured| {
        small().iter().any(|s| s.variants().iter().any(|v| s.kernel() == m.kernel && v.schedule_name() == m.schedule))
    };
    all.iter().for_each(|m| assert!(known(m), "`{}` has no schedule `{}`", m.kernel, m.schedule));
}

#[test]
fn variants_of_a_small_sweep_are_right() {
    for sweep in small() {
        for variant in sweep.variants() {
            let case = sweep.case(&variant).unwrap_or_else(|e| panic!("{variant:?}: {e}"));
            let mut sim = SimExecutor::new(case.plan.clone(), &case.weights, Precision::Native).unwrap();
            case.fill(&mut sim).unwrap();
            assert!(!compare(&case, &mut sim).unwrap().passed(&case), "{} passes before it ran", case.name);
            sim.run(0..1, 1, &mut |_| ControlFlow::Continue(())).unwrap();
            let errors = compare(&case, &mut sim).unwrap();
            assert!(errors.passed(&case), "{}: {errors:?}", case.name);
        }
    }
}

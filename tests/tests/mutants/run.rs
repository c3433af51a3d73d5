//! Mutants on the checked simulator: programs that run a kernel, rings of several sizes, adversaries.

use super::generate::{self, Mutation};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use tile_lang::exec::{Data, Executor, WeightSource};
use tile_lang::plan::Plan;
use tile_lang::protocol::{Protocol, RingId};
use tile_lang::sim::checked::{CheckedExecutor, Settings, Strategy};
use tile_lang::sim::{Precision, SimExecutor};
use tile_models::session::{GenerateOptions, generate as continued};
use tile_tests::cases::Case;
use tile_tests::model::Model;

/// Passes of a case.
const PASSES: usize = 3;
/// Tokens of a model's prompt, and those that follow.
const TOKENS: [usize; 2] = [5, 2];

/// Something that runs kernels.
pub enum Program {
    /// A case of the library.
    Case(Box<Case>),
    /// A model with its plan.
    Model(Box<Model>, Box<Plan>),
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All buffers hold what the plain simulator gives.
    Equal,
    /// Nothing was trapped, and some buffer holds something else.
    Differs,
    /// The code of what was trapped.
    Trapped(String),
}

/// How a program is run.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Slots of the ring of tiles, and of that of records; as many as there are, if those are fewer.
    pub slots: [usize; 2],
    /// CTAs, in clusters.
    pub clusters: usize,
}

/// Rings that are short, odd and as they are; one CTA, two, three.
const WAYS: [Way; 6] = [
    Way { slots: [1, 2], clusters: 2 },
    Way { slots: [2, 2], clusters: 1 },
    Way { slots: [3, 2], clusters: 2 },
    Way { slots: [4, 3], clusters: 1 },
    Way { slots: [5, 3], clusters: 3 },
    Way { slots: [usize::MAX, usize::MAX], clusters: 2 },
];

/// A program with what the plain simulator makes of it, and the ways in which the original runs; worked out when they are asked for.
pub struct Trial {
    program: Program,
    want: OnceLock<Vec<Vec<u32>>>,
    ways: OnceLock<Vec<Way>>,
}

impl Trial {
    /// Of a program.
    pub fn new(program: Program) -> Trial {
        Trial { program, want: OnceLock::new(), ways: OnceLock::new() }
    }

    fn want(&self) -> &[Vec<u32>] {
        self.want.get_or_init(|| {
            let mut sim = self.program.sim();
            self.program.drive(&mut sim).unwrap_or_else(|e| panic!("{}: {e}", self.program.plan().name));
            contents(&mut sim)
        })
    }

    /// Where a ring is too short for what a kernel holds at once, the original isn't run that way.
    fn ways(&self, sound: &Protocol) -> &[Way] {
        self.ways.get_or_init(|| {
            let fits = |way: &Way| match self.run(sound, *way, 0) {
                Outcome::Equal => true,
                Outcome::Trapped(_) if way.slots[0] < 4 => false,
                other => panic!("the original of {}, {way:?}: {other:?}", self.program.plan().name),
            };
            WAYS.into_iter().filter(fits).collect()
        })
    }

    /// Runs a protocol once.
    fn run(&self, protocol: &Protocol, way: Way, seed: u64) -> Outcome {
        let mut protocol = protocol.clone();
        for (ring, slots) in [(RingId::Tiles, 0), (RingId::Records, 1), (RingId::Ready, 1)] {
            if let Some(shape) = protocol.rings.get_mut(&ring) {
                shape.slots = shape.slots.min(way.slots[slots]);
            }
        }
        let ctas = way.clusters * protocol.cluster.max(1);
        let strategy = Some(Strategy::ALL[(seed as usize) % Strategy::ALL.len()]);
        let settings = Settings { ctas, resident: ctas, seed, strategy, ..Settings::default() };
        let plan = self.program.plan().clone();
        let made = self.program.with_weights(|w| CheckedExecutor::new(plan, w, Precision::Native, protocol, settings));
        // A protocol that is no program at all is found before it runs.
        let mut executor = match made {
            Ok(executor) => executor,
            Err(e) => return Outcome::Trapped(e.to_string()),
        };
        match self.program.drive(&mut executor) {
            Err(e) => Outcome::Trapped(code(&e)),
            Ok(()) if contents(&mut executor) == self.want() => Outcome::Equal,
            Ok(()) => Outcome::Differs,
        }
    }

    /// Runs a mutant in every way, under `adversaries` each, which go on through all strategies; the first outcome that isn't equal.
    pub fn outcome(&self, sound: &Protocol, m: &Mutation, adversaries: u64) -> Outcome {
        let protocol = generate::protocol(sound, m);
        let ways = self.ways(sound).iter().enumerate();
        let runs = ways.flat_map(|(i, way)| (0..adversaries).map(move |n| (way, i as u64 * adversaries + n)));
        let mut outcomes = runs.map(|(way, seed)| self.run(&protocol, *way, seed));
        outcomes.find(|o| *o != Outcome::Equal).unwrap_or(Outcome::Equal)
    }

    /// Runs a mutant once, with rings as they are.
    pub fn once(&self, sound: &Protocol, m: &Mutation) -> Outcome {
        self.run(&generate::protocol(sound, m), WAYS[WAYS.len() - 1], 0)
    }
}

impl Program {
    fn plan(&self) -> &Plan {
        match self {
            Program::Case(case) => &case.plan,
            Program::Model(_, plan) => plan,
        }
    }

    fn with_weights<T>(&self, f: impl FnOnce(&dyn WeightSource) -> T) -> T {
        match self {
            Program::Case(case) => f(&case.weights),
            Program::Model(model, _) => f(&model.source().unwrap()),
        }
    }

    fn sim(&self) -> SimExecutor {
        self.with_weights(|w| SimExecutor::new(self.plan().clone(), w, Precision::Native)).unwrap()
    }

    fn drive(&self, executor: &mut dyn Executor) -> Result<(), String> {
        let go = &mut |_: u32| ControlFlow::Continue(());
        match self {
            Program::Case(case) => {
                case.fill(executor).map_err(|e| e.to_string())?;
                let all = 0..case.plan.program.len();
                executor.run(all, PASSES, &mut |_| ControlFlow::Continue(())).map_err(|e| e.to_string())?;
            }
            Program::Model(model, _) => {
                let [prompt, max_new] = TOKENS;
                let options = GenerateOptions { max_new, ..GenerateOptions::default() };
                continued(executor, &model.first_prompt()[..prompt], &options, go).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

fn contents(executor: &mut dyn Executor) -> Vec<Vec<u32>> {
    let sizes: Vec<usize> = executor.plan().buffers.iter().map(|b| b.dims.iter().product()).collect();
    let bits = |data: Data| match data {
        // Both zeros are equal, and so is what is no number in both: padding of scales.
        Data::F32(x) => x.iter().map(|x| (x + 0.0).to_bits()).collect(),
        Data::I32(x) => x.iter().map(|x| *x as u32).collect(),
    };
    sizes.iter().enumerate().map(|(b, n)| bits(executor.read(b, 0, *n).unwrap())).collect()
}

/// The code in a report.
fn code(report: &str) -> String {
    let found = report.split_once("error[").and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code);
    found.unwrap_or(report).to_owned()
}

//! The choice of tokens and the end of a pass, against the reference, on the interpreter.

mod kernels_common;

use kernels_common::*;
use tile_lang::DType::{F32, I32};
use tile_lang::build::Generic;
use tile_lang::interp::{ArgValue, Array, Precision};
use tile_models::kernels::{advance, sample, state};
use tile_models::reference::sampling::{self, Sampling};
use tile_models::session::uniform;

const T: usize = 8;

/// What the kernels choose for the rows of `logits` [T, V]; rows that need no choice keep −1.
fn choose(logits: &[f32], s: Sampling, seed: u64, position: i32, rows: i32, choices: i32, chunk: usize) -> Vec<i32> {
    let v = logits.len() / T;
    let chunks = v.div_ceil(chunk);
    let mut words = [0; state::STATE_WORDS];
    words[state::POSITION as usize] = position;
    words[state::ROWS as usize] = rows;
    words[state::CHOICES as usize] = choices;
    let mut request = [0; state::REQUEST_WORDS];
    request[state::SEED_LOW as usize] = seed as i32;
    request[state::SEED_HIGH as usize] = (seed >> 32) as i32;
    request[state::TEMPERATURE as usize] = s.temperature.to_bits() as i32;
    request[state::TOP_K as usize] = s.top_k.unwrap_or(0) as i32;
    request[state::TOP_P as usize] = s.top_p.to_bits() as i32;
    let logits: ArgValue = reals(F32, &[T, v], logits).into();
    let state: ArgValue = integers(&[words.len()], &words).into();
    let (best, token) = (zeros(F32, &[T, chunks]), zeros(I32, &[T, chunks]));
    let args = [logits.clone(), state.clone(), best.clone().into(), token.clone().into()];
    run(sample::logits_max::DEF, &[chunk.into()], &args, Precision::Native);
    let choice = integers(&[T], &[-1; T]);
    let request: ArgValue = integers(&[request.len()], &request).into();
    let args = [logits, best.into(), token.into(), request, state, choice.clone().into()];
    let generics: [Generic; 2] = [chunk.into(), chunks.next_power_of_two().min(4).into()];
    run(sample::sample::DEF, &generics, &args, Precision::Native);
    choice.to_i32()
}

#[test]
fn choices_equal_the_reference_samplers() {
    let mut random = Random(11);
    let greedy = Sampling::GREEDY;
    let plain = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
    let settings = [
        greedy,
        plain,
        Sampling { temperature: 0.3, ..plain },
        Sampling { top_k: Some(1), ..plain },
        Sampling { top_k: Some(7), ..plain },
        Sampling { top_k: Some(100_000), ..plain },
        Sampling { top_p: 0.9, ..plain },
        Sampling { top_p: 0.0, ..plain },
        Sampling { temperature: 2.0, top_k: Some(20), top_p: 0.5 },
    ];
    for (v, chunk) in [(100, 32), (509, 64), (64, 64), (7, 16)] {
        for s in settings {
            for seed in [0, 1, 0x1234_5678_9abc_def0] {
                let logits: Vec<f32> = random.numbers(T * v).iter().map(|x| 4.0 * x).collect();
                let got = choose(&logits, s, seed, 40, 7, 5, chunk);
                for (t, got) in got.iter().enumerate() {
                    if !(2..7).contains(&t) {
                        assert_eq!(*got, -1, "row {t} needs no choice");
                        continue;
                    }
                    let u = uniform(seed, 0, 40 + t as u32);
                    let want = sampling::sample(&logits[t * v..][..v], &s, f64::from(u)).unwrap();
                    assert_eq!(*got, want as i32, "{s:?}, seed {seed}, row {t} of {v} tokens");
                }
            }
        }
    }
}

#[test]
fn equal_logits_are_kept_from_the_lowest_index() {
    let plain = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
    let (v, chunk) = (90, 32);
    // Every third token has the same logit, all others less.
    let logits: Vec<f32> = (0..T * v).map(|i| if i % v % 3 == 0 { 1.0 } else { -1.0 }).collect();
    assert_eq!(choose(&logits, Sampling::GREEDY, 0, 0, 8, 8, chunk), [0; T]);
    for (s, kept) in [(Sampling { top_k: Some(13), ..plain }, 13), (Sampling { top_p: 0.3, ..plain }, 0)] {
        let all = sampling::distribution(&logits[..v], &s);
        let last = all.iter().map(|x| x.0).max().unwrap();
        assert!(kept == 0 || all.len() == kept);
        for seed in 0..40 {
            for (t, token) in choose(&logits, s, seed, 3, 8, 8, chunk).into_iter().enumerate() {
                let u = uniform(seed, 0, 3 + t as u32);
                assert_eq!(token as usize, sampling::draw(&all, f64::from(u)).unwrap());
                assert!(token as usize <= last && token % 3 == 0);
            }
        }
    }
    // No logit above another one at all.
    assert_eq!(choose(&vec![f32::NEG_INFINITY; T * v], Sampling::GREEDY, 0, 0, 8, 8, chunk), [0; T]);
}

#[test]
fn draws_follow_their_probabilities() {
    let (v, n) = (5, 400);
    let logits: Vec<f32> = (0..T * v).map(|i| ((i % v + 1) as f32).ln()).collect();
    let mut counts = [0; 5];
    for seed in 0..n {
        let s = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
        choose(&logits, s, seed, 0, 8, 8, 16).into_iter().for_each(|t| counts[t as usize] += 1);
    }
    for (i, count) in counts.iter().enumerate() {
        let p = (i + 1) as f64 / 15.0;
        let all = n as f64 * T as f64;
        let sigma = (all * p * (1.0 - p)).sqrt();
        assert!((f64::from(*count) - p * all).abs() < 4.0 * sigma, "{counts:?}");
    }
}

/// The buffers of a text's course.
struct Course {
    args: Vec<ArgValue>,
    choice: std::sync::Arc<Array>,
    state: std::sync::Arc<Array>,
    tokens: std::sync::Arc<Array>,
    out: std::sync::Arc<Array>,
}

impl Course {
    fn new(prompt: &[i32], request: &[(i32, i32)], stops: &[i32]) -> Course {
        let mut words = [0; state::REQUEST_WORDS];
        request.iter().for_each(|(at, x)| words[*at as usize] = *x);
        words[state::PROMPT_LEN as usize] = prompt.len() as i32;
        words[state::STOP_COUNT as usize] = stops.len() as i32;
        let mut first = [0; state::STATE_WORDS];
        first[state::ROWS as usize] = prompt.len().min(T) as i32;
        let mut stop = [0; state::STOPS];
        stop[..stops.len()].copy_from_slice(stops);
        let (choice, tokens) = (integers(&[T], &[0; T]), integers(&[T], &[0; T]));
        let state = integers(&[first.len()], &first);
        let mut text = prompt.to_vec();
        text.resize(32, 77);
        let out = zeros(I32, &[32]);
        let args = [
            integers(&[words.len()], &words),
            integers(&[32], &text),
            integers(&[state::STOPS], &stop),
            choice.clone(),
            state.clone(),
            tokens.clone(),
            out.clone(),
        ];
        Course { args: args.map(ArgValue::from).to_vec(), choice, state, tokens, out }
    }

    /// Ends a pass that chose `token`; gives position, rows, choices and whether the text is complete.
    fn pass(&self, token: i32) -> [i32; 4] {
        self.choice.write_i32(0, &[token; T]).unwrap();
        run(advance::advance::DEF, &[T.into()], &self.args, Precision::Native);
        let words = self.state.to_i32();
        [state::POSITION, state::ROWS, state::CHOICES, state::DONE].map(|w| words[w as usize])
    }
}

#[test]
fn passes_go_through_the_prompt_and_stop() {
    let prompt: Vec<i32> = (100..119).collect();
    let c = Course::new(&prompt, &[(state::MAX_NEW, 5), (state::CONTEXT, 32)], &[9]);
    assert_eq!(c.pass(1), [8, 8, 0, 0]);
    assert_eq!(c.tokens.to_i32(), (108..116).collect::<Vec<_>>());
    assert_eq!(c.pass(1), [16, 3, 1, 0]);
    assert_eq!(c.tokens.to_i32(), [116, 117, 118, 0, 0, 0, 0, 0]);
    assert_eq!(c.out.to_i32(), [0; 32]);
    assert_eq!(c.pass(7), [19, 1, 1, 0]);
    assert_eq!(c.tokens.to_i32()[0], 7);
    assert_eq!(c.pass(0), [20, 1, 1, 0]);
    assert_eq!(c.pass(9), [21, 1, 1, 1]);
    assert_eq!(c.out.to_i32()[..4], [8, 1, 10, 0]);

    // All asked for; the last place in the caches; choices of every row.
    let c = Course::new(&prompt[..1], &[(state::MAX_NEW, 2), (state::CONTEXT, 32)], &[]);
    assert_eq!([c.pass(9), c.pass(9)], [[1, 1, 1, 0], [2, 1, 1, 1]]);
    let c = Course::new(&prompt[..2], &[(state::MAX_NEW, 9), (state::CONTEXT, 3)], &[5]);
    assert_eq!([c.pass(9), c.pass(9)], [[2, 1, 1, 0], [3, 1, 1, 1]]);
    let c = Course::new(&prompt[..11], &[(state::MAX_NEW, 2), (state::CONTEXT, 32), (state::EVERY_ROW, 1)], &[]);
    assert_eq!(c.pass(9), [8, 3, 3, 0]);
}

//! The end of a pass.

use super::builder::{Build, Built, state_words};
use tile_models::kernels::{advance, state};

/// Where the text stands and what the host asked for.
struct Pass {
    name: &'static str,
    t: usize,
    position: usize,
    rows: usize,
    produced: usize,
    prompt: usize,
    every_row: bool,
    max_new: usize,
    context: usize,
    /// Stop tokens; the choice is among them in the second case.
    stops: Vec<i32>,
    cancel: bool,
}

fn advance_case(p: Pass) -> Built {
    let def = advance::advance::DEF;
    let mut b = Build::new(def.name, &format!("{}_t{}", p.name, p.t));
    let room = 64;
    let mut request = vec![0; state::REQUEST_WORDS];
    let mut set = |word: i32, value: usize| request[word as usize] = value as i32;
    set(state::PROMPT_LEN, p.prompt);
    set(state::MAX_NEW, p.max_new);
    set(state::CONTEXT, p.context);
    set(state::EVERY_ROW, usize::from(p.every_row));
    set(state::STOP_COUNT, p.stops.len());
    set(state::CANCEL, usize::from(p.cancel));
    b.integers(&[state::REQUEST_WORDS], request);
    let prompt: Vec<i32> = (0..room).map(|i| 100 + i as i32).collect();
    b.integers(&[room], prompt.clone());
    // After the stop tokens comes what is none: the choice itself.
    let choice: Vec<i32> = (0..p.t as i32).map(|i| 900 + i).collect();
    let token = choice[p.rows - 1];
    let mut stops = p.stops.clone();
    stops.resize(state::STOPS, token);
    b.integers(&[state::STOPS], stops);
    b.integers(&[p.t], choice);
    let mut words = state_words(p.position, p.rows, 1);
    words[state::PRODUCED as usize] = p.produced as i32;
    let state_out = b.integers(&[state::STATE_WORDS], words);
    let tokens = b.out_integers(&[p.t]);
    let out = b.out_integers(&[room]);
    let expect = move || {
        let next = p.position + p.rows;
        let mut words = state_out.start.clone();
        let mut set = |word: i32, value: usize| words[word as usize] = value as i32;
        let mut block = vec![0; p.t];
        let mut produced = out.start.clone();
        set(state::POSITION, next);
        if next < p.prompt {
            let count = (p.prompt - next).min(p.t);
            block[..count].copy_from_slice(&prompt[next..next + count]);
            set(state::ROWS, count);
            let last = next + count == p.prompt;
            set(state::CHOICES, if p.every_row { count } else { usize::from(last) });
            set(state::DONE, usize::from(p.cancel));
        } else {
            block[0] = token;
            produced[p.produced] = token + 1;
            set(state::ROWS, 1);
            set(state::CHOICES, 1);
            set(state::PRODUCED, p.produced + 1);
            let full = p.produced + 1 >= p.max_new || next >= p.context;
            set(state::DONE, usize::from(full || p.cancel || p.stops.contains(&token)));
        }
        vec![state_out.integers(words), tokens.integers(block), out.integers(produced)]
    };
    b.finish(def, &[p.t.into()], "i32", 0.0, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let pass = |name, t| Pass {
        name,
        t,
        position: 30,
        rows: 1,
        produced: 4,
        prompt: 27,
        every_row: false,
        max_new: 20,
        context: 64,
        stops: vec![5, 6, 7],
        cancel: false,
    };
    Ok(vec![
        advance_case(pass("decode", 8))?,
        advance_case(Pass { position: 0, rows: 8, produced: 0, ..pass("inside_prompt", 8) })?,
        advance_case(Pass { position: 16, rows: 8, produced: 0, ..pass("last_block", 8) })?,
        advance_case(Pass { position: 0, rows: 16, produced: 0, every_row: true, ..pass("every_row", 16) })?,
        advance_case(Pass { position: 24, rows: 3, produced: 0, ..pass("first_token", 16) })?,
        advance_case(Pass { stops: vec![5, 900], ..pass("stop_token", 8) })?,
        advance_case(Pass { max_new: 5, ..pass("last_asked_for", 16) })?,
        advance_case(Pass { context: 31, ..pass("full", 8) })?,
        advance_case(Pass { cancel: true, ..pass("cancelled", 8) })?,
    ])
}

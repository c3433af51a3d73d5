//! The macros' fuzz target: a test that runs for minutes, since nothing but this crate can call them.

use super::damage::{Random, findings, found, library, survives, written};
use super::{SOURCES, tokens};
use proc_macro2::TokenStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one input may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The input that is being tried, for the watch.
static CURRENT: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Damages functions for as many minutes as `MONOTILE_FUZZ_MINUTES` says, keyed by `MONOTILE_FUZZ_SEED`. Inputs that panic are kept
/// beside those of the other targets; one that takes too long ends the process, since it can't be stopped otherwise.
#[test]
#[ignore = "runs for minutes"]
fn fuzz() {
    let number = |name: &str, default: f64| {
        let value = std::env::var(name).ok();
        value.map_or(default, |v| v.parse().unwrap_or_else(|e| panic!("{name} = {v}: {e}")))
    };
    let time = Duration::from_secs_f64(60.0 * number("MONOTILE_FUZZ_MINUTES", 1.0).max(0.0));
    let mut random = Random(number("MONOTILE_FUZZ_SEED", 1.0) as u64);
    let sources: Vec<TokenStream> = library().into_iter().chain(SOURCES.map(tokens)).chain(found()).collect();
    let over = AtomicBool::new(false);
    let (mut inputs, mut panics) = (0u64, 0u64);
    std::thread::scope(|s| {
        s.spawn(|| watch(&over));
        let begin = Instant::now();
        while begin.elapsed() < time {
            let mut item = sources[random.below(sources.len())].clone();
            for _ in 0..1 + random.below(8) {
                item = random.damage(item);
            }
            let text = written(&item);
            *CURRENT.lock().unwrap_or_else(|e| e.into_inner()) = Some((Instant::now(), text.clone()));
            inputs += 1;
            if catch_unwind(AssertUnwindSafe(|| survives(&item))).is_err() {
                panics += 1;
                keep("panic", &text);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("macro: {inputs} inputs, {panics} panics");
    assert_eq!(panics, 0, "kept in {}", findings().display());
}

/// Keeps an input, named by what it holds.
fn keep(kind: &str, input: &str) {
    let key = input.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let file = findings().join(format!("{kind}-{key:016x}.rs"));
    let kept = std::fs::create_dir_all(findings()).and_then(|()| std::fs::write(&file, input));
    match kept {
        Ok(()) => println!("kept as {}", file.display()),
        Err(e) => println!("{} can't be written: {e}\n{input}", file.display()),
    }
}

fn watch(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let current = CURRENT.lock().unwrap_or_else(|e| e.into_inner());
        let Some((_, text)) = current.as_ref().filter(|(begin, _)| begin.elapsed() > LIMIT) else { continue };
        keep("hang", text);
        println!("macro: an input took more than {LIMIT:?}");
        std::process::exit(1);
    }
}

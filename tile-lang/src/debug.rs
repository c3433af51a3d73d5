//! What kernels say about themselves: assertions that fail, tiles that are shown, marks of the timeline.
//!
//! A [`Site`] is an op that can say something. The simulators say it at once. On a GPU the kernel writes numbers into the control
//! block (the first failure) and into a buffer (tiles and marks); with the list of sites, which the image holds, they become the
//! same text again. Neither knows a driver: bytes come in, text goes out.

use crate::diag::Diagnostic;
use crate::dtype::DType;
use crate::ir::{Kernel, OpData, OpId, OpKind, Role, Type};
use crate::record::{debug, failure};
use crate::span::Span;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Code of an assertion that does not hold.
pub const ASSERTION: &str = "E65";
/// Most rows and columns of a tile that are shown; of larger ones the first half and the last.
const SHOWN: usize = 16;

/// What a site says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Saying {
    /// `device_assert!`: the message, in which each `{}` stands for a value, and the values' types.
    Assertion(String, Vec<DType>),
    /// `dbg_tile!`: the label.
    Tile(String),
    /// `mark!`: the phase that begins.
    Mark(String),
}

/// An op that says something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Index of its kernel in the program.
    pub kernel: usize,
    /// The op in its kernel, as code was made of it.
    pub op: OpId,
    /// What it says.
    pub saying: Saying,
    /// Element type of the tile or number shown, or of the condition.
    pub dtype: DType,
    /// Extents of the tile shown or of the condition; none for one number.
    pub shape: Vec<usize>,
    /// Source file.
    pub file: String,
    /// Place in it.
    pub span: Span,
}

/// A value as a kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A real number.
    Real(f32),
    /// An integer.
    Int(i32),
    /// A truth value.
    Truth(bool),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Real(x) => x.fmt(f),
            Number::Int(x) => x.fmt(f),
            Number::Truth(x) => x.fmt(f),
        }
    }
}

impl Number {
    /// A value from its 32 bits.
    pub fn from_bits(d: DType, bits: u32) -> Number {
        match d {
            DType::Bool => Number::Truth(bits != 0),
            d if d.is_float() => Number::Real(f32::from_bits(bits)),
            _ => Number::Int(bits as i32),
        }
    }
}

impl Site {
    /// The site of an op, if it says anything.
    pub fn of(kernel: &Kernel, number: usize, id: OpId, op: &OpData) -> Option<Site> {
        let types = |from: usize| op.operands[from..].iter().filter_map(|v| kernel.ty(*v).dtype()).collect();
        let saying = match &op.kind {
            OpKind::DeviceAssert(message) => Saying::Assertion(message.clone(), types(1)),
            OpKind::DbgTile(label) => Saying::Tile(label.clone()),
            OpKind::Mark(name) => Saying::Mark(name.clone()),
            _ => return None,
        };
        let first = op.operands.first().map(|v| kernel.ty(*v));
        Some(Site {
            kernel: number,
            op: id,
            saying,
            dtype: first.and_then(Type::dtype).unwrap_or(DType::I32),
            shape: first.map_or_else(Vec::new, |t| t.shape().to_vec()),
            file: kernel.files.get(op.span.file as usize).cloned().unwrap_or_default(),
            span: op.span,
        })
    }

    /// The sites of kernels that code is made of, in order: those of the roles that compute.
    pub fn all<'k>(kernels: impl IntoIterator<Item = &'k Kernel>) -> Vec<Site> {
        let mut out = Vec::new();
        for (number, kernel) in kernels.into_iter().enumerate() {
            let Some(body) = kernel.body(Role::Consumer).or_else(|| kernel.launch_body()) else { continue };
            kernel.walk_block(body, &mut |id, op| out.extend(Site::of(kernel, number, id, op)));
        }
        out
    }

    fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.span.line, self.span.col)
    }

    /// What an assertion that does not hold is reported as. `element` is the position in the condition's tile, row after row.
    pub fn failed(&self, item: &[usize], element: usize, values: &[Number]) -> Diagnostic {
        let (message, at) = match &self.saying {
            Saying::Assertion(message, _) => (filled(message, values), element),
            Saying::Tile(text) | Saying::Mark(text) => (text.clone(), element),
        };
        let mut notes = vec![format!("work item {item:?}")];
        match self.shape[..] {
            [_] => notes.push(format!("the first element of the condition that is false: [{at}]")),
            [_, columns] => {
                let position = [at / columns.max(1), at % columns.max(1)];
                notes.push(format!("the first element of the condition that is false: {position:?}"));
            }
            _ => {}
        }
        notes.push("either what the kernel was given is wrong, or the kernel: look at the values above".into());
        Diagnostic {
            code: ASSERTION,
            message: format!("assertion failed: {message}"),
            file: self.file.clone(),
            span: self.span,
            notes,
        }
    }

    /// A tile as text.
    pub fn shown(&self, item: &[usize], elements: &[Number]) -> String {
        let label = match &self.saying {
            Saying::Tile(label) => label.as_str(),
            _ => "",
        };
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let of = if shape.is_empty() { self.dtype.to_string() } else { format!("{} {}", shape.join("x"), self.dtype) };
        let mut out = format!("{}: item {item:?}: {label}: {of}", self.place());
        match self.shape[..] {
            [rows, columns] => {
                for r in some(rows) {
                    out += "\n  ";
                    out += &match r {
                        Some(r) => row(&elements[r * columns..(r + 1) * columns]),
                        None => "…".into(),
                    };
                }
            }
            [_] => out += &format!("\n  {}", row(elements)),
            _ => out += &format!(" = {}", elements.first().map_or_else(String::new, Number::to_string)),
        }
        out
    }
}

/// The message with its values.
fn filled(message: &str, values: &[Number]) -> String {
    let mut parts = message.split("{}");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        out += &values.get(i).map_or_else(|| "{}".into(), Number::to_string);
        out += part;
    }
    out
}

/// How many values a message shows.
pub fn places_of(message: &str) -> usize {
    message.matches("{}").count()
}

/// Which of `n` rows or columns are shown; none stands for those left out.
fn some(n: usize) -> Vec<Option<usize>> {
    if n <= SHOWN {
        return (0..n).map(Some).collect();
    }
    let half = SHOWN / 2;
    (0..half).map(Some).chain([None]).chain((n - half..n).map(Some)).collect()
}

fn row(elements: &[Number]) -> String {
    let text = |i: Option<usize>| i.and_then(|i| elements.get(i)).map_or_else(|| "…".into(), Number::to_string);
    some(elements.len()).into_iter().map(text).collect::<Vec<_>>().join(" ")
}

/// The failure that a kernel left in its control block, if any: the instruction and what is reported. `words` begins at
/// [`control::FAILURE`](crate::record::control::FAILURE).
pub fn failure(words: &[u32], sites: &[Site]) -> Option<(usize, Diagnostic)> {
    let number = (*words.get(failure::SITE)? as usize).checked_sub(1)?;
    let (site, words) = (sites.get(number)?, words.get(..failure::WORDS)?);
    let Saying::Assertion(_, types) = &site.saying else { return None };
    let values: Vec<Number> =
        types.iter().zip(&words[failure::VALUES..]).map(|(d, w)| Number::from_bits(*d, *w)).collect();
    let axes = words[failure::AXES] as usize;
    let item: Vec<usize> =
        words[failure::ITEM..].iter().take(axes.min(failure::ITEM_WORDS)).map(|w| *w as usize).collect();
    let mut found = site.failed(&item, words[failure::ELEMENT] as usize, &values);
    found.notes.insert(1, format!("CTA {}", words[failure::CTA]));
    Some((words[failure::RECORD] as usize, found))
}

/// Times of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The phase that begins.
    pub name: String,
    /// Instruction.
    pub record: usize,
    /// CTA.
    pub cta: usize,
    /// Work item.
    pub item: Vec<usize>,
    /// Cycles of the SM's clock, as the trace's other times.
    pub clock: u64,
    /// Nanoseconds of the GPU's clock, which all SMs share.
    pub nanoseconds: u64,
}

/// What a kernel left in its debug buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Tiles as text, in the order of instructions and items.
    pub tiles: Vec<String>,
    /// Marks, in the order of CTAs and clocks.
    pub marks: Vec<Marked>,
    /// Bytes that would have been written, had the buffer been large enough.
    pub cut: Option<u64>,
}

/// Reads a debug buffer, whose entries begin behind the first 16 bytes.
pub fn read_buffer(words: &[u32], sites: &[Site]) -> Said {
    let mut out = Said::default();
    let head = words.first().copied().unwrap_or(0) as u64 | (words.get(1).copied().unwrap_or(0) as u64) << 32;
    let bytes = 4 * words.len() as u64;
    if head + 4 * debug::FIRST as u64 > bytes {
        out.cut = Some(head);
    }
    let mut tiles: Vec<(usize, Vec<usize>, usize, String)> = Vec::new();
    let mut at = debug::FIRST;
    while let Some(entry) = words.get(at..).filter(|e| e.len() >= debug::PAYLOAD) {
        let (site, payload) = (entry[debug::SITE] as usize, entry[debug::PAYLOAD_WORDS] as usize);
        let Some(site) = site.checked_sub(1).and_then(|i| sites.get(i)) else { break };
        let Some(data) = entry.get(debug::PAYLOAD..debug::PAYLOAD + payload) else { break };
        let axes = (entry[debug::AXES] as usize).min(debug::ITEM_WORDS);
        let item: Vec<usize> = entry[debug::ITEM..][..axes].iter().map(|w| *w as usize).collect();
        let (record, cta) = (entry[debug::RECORD] as usize, entry[debug::CTA] as usize);
        match &site.saying {
            Saying::Mark(name) if data.len() >= 4 => {
                let long = |i: usize| u64::from(data[i]) | u64::from(data[i + 1]) << 32;
                let (clock, nanoseconds) = (long(0), long(2));
                out.marks.push(Marked { name: name.clone(), record, cta, item, clock, nanoseconds });
            }
            Saying::Tile(_) => {
                let elements: Vec<Number> = data.iter().map(|w| Number::from_bits(site.dtype, *w)).collect();
                if elements.len() == site.shape.iter().product::<usize>() {
                    let text = site.shown(&item, &elements);
                    tiles.push((record, item, tiles.len(), text));
                }
            }
            _ => {}
        }
        at += debug::entry_words(payload);
    }
    tiles.sort();
    out.tiles = tiles.into_iter().map(|t| t.3).collect();
    out.marks.sort_by_key(|m| (m.cta, m.clock));
    out
}

/// A kernel without all that it says, and what only that needs: what is shipped.
pub fn without(kernel: &Kernel) -> Kernel {
    let mut out = kernel.clone();
    for block in &mut out.blocks {
        block.ops.retain(|id| !kernel.ops[id.index()].kind.is_debug());
    }
    out
}

/// Where text goes: to whoever captures it, or to standard error.
static CAPTURED: Mutex<Option<Vec<String>>> = Mutex::new(None);
/// One capture at a time.
static CAPTURING: Mutex<()> = Mutex::new(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows a text that a kernel made.
pub fn show(text: &str) {
    match &mut *lock(&CAPTURED) {
        Some(list) => list.push(text.to_owned()),
        None => eprintln!("{text}"),
    }
}

/// What is shown while `f` runs, by this process.
pub fn capture<T>(f: impl FnOnce() -> T) -> (T, Vec<String>) {
    let _one = lock(&CAPTURING);
    *lock(&CAPTURED) = Some(Vec::new());
    let result = f();
    (result, lock(&CAPTURED).take().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(saying: Saying, dtype: DType, shape: &[usize]) -> Site {
        let span = Span { file: 0, line: 7, col: 5, len: 13 };
        Site { kernel: 0, op: OpId(3), saying, dtype, shape: shape.to_vec(), file: "k.rs".into(), span }
    }

    #[test]
    fn a_failure_is_read_back() {
        let assertion = Saying::Assertion("x is {}, n is {}".into(), vec![DType::F32, DType::I32]);
        let sites = [site(Saying::Mark("a".into()), DType::I32, &[]), site(assertion, DType::Bool, &[16, 32])];
        let mut words = [0u32; failure::WORDS];
        assert_eq!(failure(&words, &sites), None);
        words[failure::SITE] = 2;
        words[failure::RECORD] = 9;
        words[failure::CTA] = 131;
        words[failure::ELEMENT] = 35;
        words[failure::AXES] = 2;
        words[failure::ITEM..failure::ITEM + 2].copy_from_slice(&[4, 5]);
        words[failure::VALUES] = 1.5f32.to_bits();
        words[failure::VALUES + 1] = -3i32 as u32;
        let (record, found) = failure(&words, &sites).unwrap();
        assert_eq!(record, 9);
        assert_eq!(found.message, "assertion failed: x is 1.5, n is -3");
        assert_eq!((found.code, found.span.line), ("E65", 7));
        assert_eq!(
            found.notes[..3],
            ["work item [4, 5]", "CTA 131", "the first element of the condition that is false: [1, 3]"]
        );
    }

    #[test]
    fn a_buffer_is_read_back_in_order_and_says_where_it_was_cut() {
        let sites =
            [site(Saying::Tile("t".into()), DType::F32, &[3]), site(Saying::Mark("load".into()), DType::I32, &[])];
        let mut words = vec![0u32; debug::FIRST];
        let mut entry = |site: u32, record: u32, item: u32, payload: &[u32]| {
            let mut e = vec![0u32; debug::entry_words(payload.len())];
            e[debug::SITE] = site;
            e[debug::PAYLOAD_WORDS] = payload.len() as u32;
            e[debug::RECORD] = record;
            e[debug::CTA] = 2;
            e[debug::AXES] = 1;
            e[debug::ITEM] = item;
            e[debug::PAYLOAD..debug::PAYLOAD + payload.len()].copy_from_slice(payload);
            words.extend(e);
        };
        let tile = [1.0f32, 2.5, -3.0].map(f32::to_bits);
        entry(1, 0, 8, &tile);
        entry(2, 0, 1, &[7, 0, 9, 1]);
        entry(1, 0, 2, &tile);
        words[0] = 4 * (words.len() - debug::FIRST) as u32;
        let said = read_buffer(&words, &sites);
        assert_eq!(
            said.tiles,
            ["k.rs:7:5: item [2]: t: 3 f32\n  1 2.5 -3", "k.rs:7:5: item [8]: t: 3 f32\n  1 2.5 -3"]
        );
        let mark = Marked { name: "load".into(), record: 0, cta: 2, item: vec![1], clock: 7, nanoseconds: 9 | 1 << 32 };
        assert_eq!((said.marks, said.cut), (vec![mark], None));
        // An entry that did not fit: counted, not written.
        words[0] += 64;
        let cut = read_buffer(&words, &sites);
        assert_eq!((cut.tiles.len(), cut.cut), (2, Some(u64::from(words[0]))));
    }

    #[test]
    fn large_tiles_show_their_corners() {
        let s = site(Saying::Tile("t".into()), DType::I32, &[32, 64]);
        let elements: Vec<Number> = (0..32 * 64).map(Number::Int).collect();
        let text = s.shown(&[], &elements);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 17);
        assert!(lines[1].starts_with("  0 1 2 3 4 5 6 7 … 56 57") && lines[9] == "  …", "{text}");
        assert!(lines[17].ends_with(" 2046 2047"), "{text}");
    }
}

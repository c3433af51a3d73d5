//! Inputs from seeds: bytes and tokens deleted, doubled, replaced, moved, taken from other seeds.

use crate::random::Random;

/// Longest input.
const MAX_BYTES: usize = 1 << 16;

/// Pieces that texts of all targets are sensitive to.
const PIECES: [&str; 40] = [
    "0",
    "-1",
    "1",
    "18446744073709551615",
    "4294967296",
    "2147483648",
    "1e999",
    "-0.0",
    "1e-45",
    "nan(0x7fffffff)",
    "inf",
    "\"",
    "\\u{110000}",
    "\u{0}",
    "é",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    ",",
    ":",
    "%",
    "%0",
    "@",
    "//",
    "\n",
    "tile<f32, 16777216x16777216>",
    "smem<e2m1, 3x5>",
    "stage tile",
    "yield",
    "null",
    "true",
    "{}",
    "[]",
    "f32",
    "1x1",
];

/// Makes inputs, the same from the same seed.
#[derive(Clone, Debug)]
pub struct Mutator(Random);

impl Mutator {
    /// With this seed.
    pub fn new(seed: u64) -> Self {
        Mutator(Random(seed))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.0.bits() % n.max(1) as u64) as usize
    }

    /// A mutated seed.
    pub fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..1 + self.below(4) {
            input = if self.below(3) == 0 { self.bytes(input) } else { self.tokens(&input, seeds) };
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn bytes(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        if input.is_empty() {
            return vec![self.0.bits() as u8];
        }
        let at = self.below(input.len());
        match self.below(6) {
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.0.bits() as u8,
            2 => input.truncate(at),
            3 => drop(input.remove(at)),
            4 => input.insert(at, self.0.bits() as u8),
            _ => {
                // A number in binary: little, huge, negative.
                let number = [0u64, 1, u64::MAX, 1 << 31, 1 << 63, input.len() as u64][self.below(6)].to_le_bytes();
                let end = (at + 8).min(input.len());
                input[at..end].copy_from_slice(&number[..end - at]);
            }
        }
        input
    }

    fn tokens(&mut self, input: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut list = split(input);
        let other = seeds.get(self.below(seeds.len())).map(|s| split(s)).unwrap_or_default();
        let (at, to, count) = (self.below(list.len()), self.below(list.len() + 1), 1 + self.below(12));
        let end = (at + count).min(list.len());
        match self.below(6) {
            0 if !list.is_empty() => drop(list.drain(at..end)),
            1 if !list.is_empty() => {
                let copied = list[at..end].to_vec();
                // Sometimes very often.
                let times = if self.below(16) == 0 { 200 } else { 1 };
                (0..times).for_each(|_| drop(list.splice(to..to, copied.iter().copied())));
            }
            2 if to < list.len() => list.swap(at, to),
            3 if !other.is_empty() => {
                let from = self.below(other.len());
                let until = (from + count).min(other.len());
                list.splice(to..to, other[from..until].iter().copied());
            }
            4 if !list.is_empty() => list[at] = PIECES[self.below(PIECES.len())].as_bytes(),
            _ => list.insert(to, PIECES[self.below(PIECES.len())].as_bytes()),
        }
        list.concat()
    }
}

/// Words, numbers, and single other bytes.
fn split(input: &[u8]) -> Vec<&[u8]> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    input.chunk_by(|a, b| word(*a) && word(*b)).collect()
}

//! Words of the two small integer buffers through which passes, the host and the kernels speak.
//!
//! `state` belongs to the program: each pass reads it, the last instruction ([`super::advance`]) writes what the next
//! pass needs. `request` belongs to the host and stays as it is during a generation.

/// `state`: position of the block's first row in the text.
pub const POSITION: i32 = 0;
/// `state`: rows of the block that are valid; those after them are garbage.
pub const ROWS: i32 = 1;
/// `state`: how many of the last valid rows need a choice of the next token. 0 leaves out head and sampling.
pub const CHOICES: i32 = 2;
/// `state`: non-zero when the text is complete.
pub const DONE: i32 = 3;
/// `state`: tokens produced so far.
pub const PRODUCED: i32 = 4;
/// Words of `state`.
pub const STATE_WORDS: usize = 8;

/// `request`: tokens of the prompt.
pub const PROMPT_LEN: i32 = 0;
/// `request`: most tokens to produce.
pub const MAX_NEW: i32 = 1;
/// `request`: positions that the caches hold.
pub const CONTEXT: i32 = 2;
/// `request`: lower half of the random seed.
pub const SEED_LOW: i32 = 3;
/// `request`: upper half of the random seed.
pub const SEED_HIGH: i32 = 4;
/// `request`: number of the sequence, which keys the random numbers too.
pub const SEQUENCE: i32 = 5;
/// `request`: bits of the temperature (f32); 0 chooses the largest logit.
pub const TEMPERATURE: i32 = 6;
/// `request`: tokens kept by top-k; 0 for all.
pub const TOP_K: i32 = 7;
/// `request`: bits of top-p (f32).
pub const TOP_P: i32 = 8;
/// `request`: non-zero to compute logits and choices of every row of the prompt.
pub const EVERY_ROW: i32 = 9;
/// `request`: number of tokens in `stops`.
pub const STOP_COUNT: i32 = 10;
/// `request`: non-zero ends the text after the present pass.
pub const CANCEL: i32 = 11;
/// Words of `request`.
pub const REQUEST_WORDS: usize = 16;

/// Most tokens that end a text.
pub const STOPS: usize = 16;

//! What can be wrong with the files of a checkpoint.

use std::fmt;
use std::path::PathBuf;

/// A problem with a checkpoint's files or tensors.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The folder has neither a single file nor an index.
    #[error("{}: no model.safetensors and no model.safetensors.index.json; --model takes a folder with one of them",
        folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file can't be read.
    #[error("{}: can't be read ({source})", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that the index names isn't there.
    #[error("{}: missing; {} says it holds `{tensor}` (download the file, or all of the checkpoint again)",
        file.display(), index.display())]
    MissingShard {
        /// The file that isn't there.
        file: PathBuf,
        /// The index.
        index: PathBuf,
        /// One of the tensors it should hold.
        tensor: String,
    },
    /// A file that isn't what its name says.
    #[error("{}: {problem}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file ends early.
    #[error("{}: truncated: it has {found} bytes of {expected}, `{tensor}` is the first tensor cut (download it again)",
        file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size its header tells, in bytes.
        expected: u64,
        /// The first tensor that isn't whole, or "header".
        tensor: String,
    },
    /// The index names a tensor that its file doesn't hold.
    #[error("{}: doesn't hold `{tensor}`, which {} says it does", file.display(), index.display())]
    NotInShard {
        /// The file.
        file: PathBuf,
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor the model needs isn't in the checkpoint.
    #[error("{}: `{tensor}` is missing; expected {expected}", folder.display())]
    Missing {
        /// The checkpoint.
        folder: PathBuf,
        /// The tensor.
        tensor: String,
        /// Types and shape it should have.
        expected: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{}: `{tensor}` has shape {found:?}, but config.json asks for {expected:?}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that isn't expected there.
    #[error("{}: `{tensor}` is stored as {found}; expected {expected}", file.display())]
    Type {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// The types expected, and why no others.
        expected: String,
    },
    /// A block scale is not a number.
    #[error("{}: `{tensor}` holds the scale {found} at row {row}, column {col}; every scale must be finite \
        (the file is damaged, or was quantised from NaN)", file.display())]
    Scale {
        /// The file.
        file: PathBuf,
        /// The tensor of scales.
        tensor: String,
        /// Row of the first such scale.
        row: usize,
        /// Its column.
        col: usize,
        /// The value: a number or a byte.
        found: String,
    },
    /// A tensor is there that the configuration has no place for.
    #[error("{}: `{tensor}` is there, but {problem}", file.display())]
    Unexpected {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The contradiction, and the field to change.
        problem: String,
    },
    /// A layer or expert was asked for that the model doesn't have.
    #[error("{what} {index} was asked for, but the model has {count}")]
    OutOfRange {
        /// What: "layer", "expert", or the part a layer doesn't have.
        what: &'static str,
        /// The one asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// All problems found when a checkpoint was compared with its configuration. It prints the first five.
#[derive(Debug)]
pub struct ValidationError {
    /// The problems, in the order of the model's tensors; never empty.
    pub problems: Vec<CheckpointError>,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (i, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for ValidationError {}

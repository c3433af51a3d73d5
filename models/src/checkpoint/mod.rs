//! Checkpoints: safetensors files of a model folder, mapped into memory and looked up by tensor name.
//!
//! [`Checkpoint`] knows files and names, [`Matrix`] is one weight in its stored precision, and [`Weights`] gives the
//! model's weights by what they are, whatever the family and the layout. Nothing is dequantised on the way, and
//! whatever is wrong with a file is an error that names the file, the tensor and what was expected. Files must not
//! change while they are mapped.

mod error;
mod matrix;
mod weights;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, SafeTensorError};
use safetensors::{Dtype, SafeTensors};

pub use error::{CheckpointError, ValidationError};
pub use matrix::{Formats, Matrix, WeightData};
pub use weights::{GatedMlp, Qkv, Router, Weights, validate};

use crate::config::fields::read_json;

/// Tensors with this prefix belong to multi-token prediction heads, which aren't part of the model.
const IGNORED: &str = "model.mtp.";

/// One tensor as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape, outermost first.
    pub shape: &'a [usize],
    /// Its bytes, row-major, little-endian, not aligned to anything.
    pub bytes: &'a [u8],
    /// The file it lies in.
    pub file: &'a Path,
}

/// One mapped file.
struct Shard {
    file: PathBuf,
    map: Mmap,
    /// Where the tensors' bytes begin.
    start: usize,
    metadata: Metadata,
}

/// An open checkpoint.
pub struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name → index into `shards`.
    tensors: HashMap<String, usize>,
}

impl Checkpoint {
    /// Opens the checkpoint of a model folder: what `model.safetensors.index.json` lists, or else `model.safetensors`.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let index = folder.join("model.safetensors.index.json");
        if index.exists() {
            return Self::open_index(folder, &index);
        }
        let single = folder.join("model.safetensors");
        if !single.exists() {
            return Err(CheckpointError::Nothing { folder: folder.to_owned() });
        }
        Ok(Checkpoint { folder: folder.to_owned(), ..Self::open_file(&single)? })
    }

    /// Opens a single safetensors file.
    pub fn open_file(file: &Path) -> Result<Self, CheckpointError> {
        let shard = Shard::open(file)?;
        let names = shard.metadata.tensors().into_keys().filter(|name| !name.starts_with(IGNORED));
        let tensors = names.map(|name| (name, 0)).collect();
        Ok(Checkpoint { folder: file.to_owned(), shards: vec![shard], tensors })
    }

    fn open_index(folder: &Path, index: &Path) -> Result<Self, CheckpointError> {
        let bad = |problem: String| CheckpointError::Malformed { file: index.to_owned(), problem };
        let json = read_json(index).map_err(|e| bad(e.to_string()))?;
        let Some(map) = json.get("weight_map").and_then(|m| m.as_object()) else {
            return Err(bad("no `weight_map` object; expected one that maps tensor names to files".into()));
        };
        let mut files: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for (tensor, file) in map.iter().filter(|(name, _)| !name.starts_with(IGNORED)) {
            let plain = file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|n| n == *f));
            let Some(plain) = plain else {
                return Err(bad(format!(
                    "`{tensor}` is mapped to {file}; expected the name of a file in the same folder"
                )));
            };
            files.entry(plain).or_default().push(tensor);
        }
        let (mut shards, mut tensors) = (Vec::new(), HashMap::new());
        for (name, held) in files {
            let file = folder.join(name);
            if !file.exists() {
                let (index, tensor) = (index.to_owned(), held[0].clone());
                return Err(CheckpointError::MissingShard { file, index, tensor });
            }
            let shard = Shard::open(&file)?;
            for tensor in held {
                if shard.metadata.info(tensor).is_none() {
                    let (index, tensor) = (index.to_owned(), tensor.clone());
                    return Err(CheckpointError::NotInShard { file, index, tensor });
                }
                tensors.insert(tensor.clone(), shards.len());
            }
            shards.push(shard);
        }
        Ok(Checkpoint { folder: folder.to_owned(), shards, tensors })
    }

    /// The folder, or the file where a single file was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mapped files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|s| s.file.as_path())
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor, if the checkpoint has it.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, &shard) = self.tensors.get_key_value(name)?;
        let shard = &self.shards[shard];
        let info = shard.metadata.info(name)?;
        // The header was checked against the file's size when it was opened.
        let bytes = shard.map.get(shard.start + info.data_offsets.0..shard.start + info.data_offsets.1)?;
        Some(TensorView { name, dtype: info.dtype, shape: &info.shape, bytes, file: &shard.file })
    }

    /// A tensor that must be there; `expected` says as what.
    pub fn require(&self, name: &str, expected: &str) -> Result<TensorView<'_>, CheckpointError> {
        self.get(name).ok_or_else(|| CheckpointError::Missing {
            folder: self.folder.clone(),
            tensor: name.to_owned(),
            expected: expected.to_owned(),
        })
    }
}

impl Shard {
    fn open(file: &Path) -> Result<Self, CheckpointError> {
        let read = |source| CheckpointError::Read { file: file.to_owned(), source };
        let handle = File::open(file).map_err(read)?;
        // SAFETY: the mapping is only read. A file that is changed meanwhile gives wrong weights, one that is cut a bus
        // error; the module's documentation asks that files stay as they are.
        let map = unsafe { Mmap::map(&handle) }.map_err(read)?;
        match SafeTensors::read_metadata(&map) {
            Ok((header, metadata)) => Ok(Shard { file: file.to_owned(), start: header + 8, map, metadata }),
            Err(error) => Err(explain(file, &map, &error)),
        }
    }
}

/// Why a file's header was refused: most often the file is cut.
fn explain(file: &Path, bytes: &[u8], error: &SafeTensorError) -> CheckpointError {
    let found = bytes.len() as u64;
    let truncated = |expected: u64, tensor: &str| CheckpointError::Truncated {
        file: file.to_owned(),
        found,
        expected,
        tensor: tensor.to_owned(),
    };
    let Some(length) = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)) else {
        return truncated(8, "header");
    };
    let start = length.saturating_add(8);
    if found < start && length < 100_000_000 {
        return truncated(start, "header");
    }
    let header = bytes.get(8..usize::try_from(start).unwrap_or(usize::MAX));
    let header = header.and_then(|h| serde_json::from_slice::<serde_json::Value>(h).ok());
    let ends = header.as_ref().and_then(|h| h.as_object()).into_iter().flatten().filter_map(|(name, info)| {
        let end = info.get("data_offsets")?.get(1)?.as_u64()?;
        Some((start.saturating_add(end), name))
    });
    let mut cut: Vec<(u64, &String)> = ends.filter(|&(end, _)| end > found).collect();
    cut.sort();
    match (cut.first(), cut.last()) {
        (Some((_, first)), Some((expected, _))) => truncated(*expected, first),
        _ => {
            let problem = format!("not a valid safetensors file ({error}); download it again");
            CheckpointError::Malformed { file: file.to_owned(), problem }
        }
    }
}

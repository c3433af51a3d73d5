//! The ahead-of-time artifact: a plan and its compiled image, of a model perhaps a second pair for prompts. No weights.
//!
//! File: the magic line, a SHA-256 of everything after it, the length of a JSON header (u64, little endian), the header
//! (format version, target, compiler, plans, facts of images), then the PTX and the cubin of each image.

use crate::debug::Site;
use crate::packing::Packing;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Version of the file format and of the record layout.
pub const FORMAT: u32 = 4;
/// What every artifact begins with; a SHA-256 of the rest follows it.
pub const MAGIC: &[u8; 16] = b"monotile-image\r\n";

/// Machine code and what a launcher must know of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Architecture, `sm_90a`.
    pub target: String,
    /// Name of the entry.
    pub entry: String,
    /// Threads of a CTA.
    pub threads: u32,
    /// CTAs of a cluster: the grid is a multiple of it.
    pub cluster: u32,
    /// Dynamic shared memory of a CTA in bytes.
    pub shared_bytes: u32,
    /// PTX text.
    #[serde(skip)]
    pub ptx: String,
    /// Machine code, when ptxas was at hand.
    #[serde(skip)]
    pub cubin: Vec<u8>,
    /// For each kernel of the plan, for each parameter: how a weight bound to it must be stored, if it is staged.
    pub packings: Vec<Vec<Option<Packing>>>,
    /// For each kernel, for each parameter: the box that tensor copies cut out of an array bound to it, if they do.
    pub boxes: Vec<Vec<Option<TensorBox>>>,
    /// Registers a thread at entry and spilled bytes, from ptxas; zero when it did not run.
    pub registers: u32,
    /// Spilled bytes.
    pub spills: u32,
    /// Ops that say something about the run, by the numbers that the code gives them; none in what is shipped.
    pub sites: Vec<Site>,
}

/// What one bulk tensor copy brings: `rows` × `columns` elements of an array's last two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorBox {
    /// Rows, at most 256.
    pub rows: usize,
    /// Columns, at most 256; of 4-bit elements, which are copied two to a byte, 512.
    pub columns: usize,
    /// Whether it swizzles by 128 bytes, which is what a row has then.
    pub swizzled: bool,
}

/// A plan with its image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Format version.
    pub format: u32,
    /// Compiler version.
    pub compiler: String,
    /// The plan.
    pub plan: Plan,
    /// Its image.
    pub image: Image,
    lengths: Lengths,
    /// The program for prompts over the same caches, if there is one.
    pub prompt: Option<Program>,
}

/// A second plan with its image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The plan.
    pub plan: Plan,
    /// Its image.
    pub image: Image,
    lengths: Lengths,
}

/// Bytes of an image in the file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Lengths {
    ptx: u64,
    cubin: u64,
}

impl Lengths {
    fn of(image: &Image) -> Self {
        Lengths { ptx: image.ptx.len() as u64, cubin: image.cubin.len() as u64 }
    }

    /// Takes the image's code off the front of `body`.
    fn split(self, image: &mut Image, body: &mut &[u8]) -> Option<()> {
        let (ptx, rest) = body.split_at_checked(usize::try_from(self.ptx).ok()?)?;
        let (cubin, rest) = rest.split_at_checked(usize::try_from(self.cubin).ok()?)?;
        image.ptx = String::from_utf8(ptx.to_vec()).ok()?;
        image.cubin = cubin.to_vec();
        *body = rest;
        Some(())
    }
}

/// An artifact can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The contents are not usable.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Artifact {
    /// Puts plan and image together.
    pub fn new(plan: Plan, image: Image) -> Self {
        let lengths = Lengths::of(&image);
        Artifact { format: FORMAT, compiler: env!("CARGO_PKG_VERSION").into(), plan, image, lengths, prompt: None }
    }

    /// The same with a program for prompts.
    pub fn with_prompt(mut self, plan: Plan, image: Image) -> Self {
        let lengths = Lengths::of(&image);
        self.prompt = Some(Program { plan, image, lengths });
        self
    }

    /// Whether these bytes begin as artifacts do.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// SHA-256 of the PTX without comments, paths and line information, in hexadecimal.
    pub fn ptx_sha256(&self) -> String {
        crate::ptx::sha256(&self.image.ptx)
    }

    /// Writes the file: whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), ArtifactError> {
        let io = |source| ArtifactError::Io { path: path.into(), source };
        let header = serde_json::to_vec(self).map_err(|e| io(e.into()))?;
        let mut body = (header.len() as u64).to_le_bytes().to_vec();
        body.extend(&header);
        for image in std::iter::once(&self.image).chain(self.prompt.as_ref().map(|p| &p.image)) {
            body.extend(image.ptx.as_bytes());
            body.extend(&image.cubin);
        }
        let mut file = MAGIC.to_vec();
        file.extend(Sha256::digest(&body));
        file.extend(&body);
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, &file).map_err(io)?;
        std::fs::rename(&partial, path).map_err(|source| {
            let _ = std::fs::remove_file(&partial);
            io(source)
        })
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// The file can't be read, is no artifact, is damaged, or is of another version.
    pub fn load(path: &Path) -> Result<Self, ArtifactError> {
        let file = std::fs::read(path).map_err(|source| ArtifactError::Io { path: path.into(), source })?;
        let bad = |message: String| ArtifactError::Format { path: path.into(), message };
        let rest = file
            .strip_prefix(MAGIC)
            .ok_or_else(|| bad("this is no monotile artifact; `monotile compile` makes one".into()))?;
        let damaged = || bad("the artifact is damaged (its checksum does not match); compile it again".into());
        let (sum, body) = rest.split_at_checked(32).ok_or_else(damaged)?;
        if Sha256::digest(body)[..] != *sum {
            return Err(damaged());
        }
        let (len, body) = body.split_at_checked(8).ok_or_else(damaged)?;
        let len = u64::from_le_bytes(len.try_into().map_err(|_| damaged())?) as usize;
        let (header, body) = body.split_at_checked(len).ok_or_else(damaged)?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            compiler: String,
        }
        let version: Version =
            serde_json::from_slice(header).map_err(|e| bad(format!("the header can't be read: {e}")))?;
        if version.format != FORMAT || version.compiler != env!("CARGO_PKG_VERSION") {
            return Err(bad(format!(
                "made by monotile {} (format {}), this is {} (format {FORMAT}); compile it again",
                version.compiler,
                version.format,
                env!("CARGO_PKG_VERSION")
            )));
        }
        let mut artifact: Artifact =
            serde_json::from_slice(header).map_err(|e| bad(format!("the header can't be read: {e}")))?;
        let mut rest = body;
        artifact.lengths.split(&mut artifact.image, &mut rest).ok_or_else(damaged)?;
        if let Some(prompt) = &mut artifact.prompt {
            prompt.lengths.split(&mut prompt.image, &mut rest).ok_or_else(damaged)?;
        }
        if rest.is_empty() { Ok(artifact) } else { Err(damaged()) }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Artifact {
        let image = |ptx: &str, cubin: Vec<u8>| Image {
            target: "sm_90a".into(),
            entry: "entry".into(),
            threads: 384,
            cluster: 1,
            shared_bytes: 1024,
            ptx: ptx.into(),
            cubin,
            packings: vec![vec![None]],
            boxes: Vec::new(),
            registers: 168,
            spills: 0,
            sites: Vec::new(),
        };
        Artifact::new(Plan::new("sample"), image(".version 8.6", vec![1, 2, 3]))
            .with_prompt(Plan::new("sample.prompt"), image(".version 8.7", vec![4]))
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("monotile-artifact-{}-{name}", std::process::id()))
    }

    #[test]
    fn comes_back_as_it_was() {
        let path = file("whole");
        sample().save(&path).unwrap();
        assert_eq!(Artifact::load(&path).unwrap(), sample());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn damage_is_named() {
        let path = file("damaged");
        sample().save(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Artifact::load(&path).unwrap_err().to_string()
        };
        for at in (16..good.len()).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            assert!(load(&bytes).ends_with("(its checksum does not match); compile it again"), "byte {at}");
        }
        for len in [16, 40, good.len() - 1] {
            assert!(load(&good[..len]).contains("damaged"), "{len} bytes");
        }
        assert!(load(b"a text").contains("this is no monotile artifact"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn other_versions_are_refused() {
        let path = file("version");
        let mut other = sample();
        other.format = FORMAT + 1;
        other.save(&path).unwrap();
        let error = Artifact::load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("(format {})", FORMAT + 1)) && error.ends_with("compile it again"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}

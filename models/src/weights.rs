//! The weights of a plan, by the names that the models in [`crate::zoo`] use, out of a checkpoint.
//!
//! | name | contents |
//! |---|---|
//! | `embed`, `norm`, `lm_head` | embedding [V, K], final norm \[K\], head [V, K] |
//! | `no_sinks.H` | sink logits of H heads that have none, for attention that takes some |
//! | `layers.L.attention_norm`, `.mlp_norm` | norms \[K\], f32 |
//! | `layers.L.qkv`, `.o` | queries, keys and values, head after head [N, K]; output projection |
//! | `layers.L.inv_freq`, `.sinks` | rotary frequencies, scaling included; sink logits \[heads\], f32 |
//! | `layers.L.mlp.gate`, `.up`, `.down` | dense MLP |
//! | `layers.L.router`, `.router_bias` | router [E, K] (bf16 where that loses nothing), correction bias \[E\] |
//! | `layers.L.experts.gate`, `.up`, `.down` | all experts [E, N, K] |
//!
//! Matrices that are not plain have `.scales`: FP8 f32 [⌈K/128⌉, N], MXFP4 E8M0 [N, K/32], after the experts' axis.
//! Where queries, keys and values are stored differently, `qkv` is f32; all experts of a layer must be stored alike.

use crate::checkpoint::{CheckpointError, Matrix, WeightData, Weights};
use crate::config::Mlp;
use crate::graph::{Format, WeightCatalog, WeightInfo};
use crate::kernels::prefill::HIDDEN;
use crate::quant::FP8_BLOCK;
use std::borrow::Cow;
use tile_lang::DType;
use tile_lang::exec::WeightSource;

/// Weights of a plan out of a checkpoint.
#[derive(Clone, Copy)]
pub struct PlanWeights<'a> {
    weights: Weights<'a>,
}

/// What a name stands for.
enum Part<'a> {
    /// Matrices one below the other.
    Below(Vec<Matrix<'a>>),
    /// So many matrices one behind the other, of which the list may hold only the first.
    Stack(Vec<Matrix<'a>>, usize),
    /// Numbers.
    Vector(Vec<f32>),
    /// A router: rows of f32.
    Rows(Vec<f32>, usize),
}

impl<'a> PlanWeights<'a> {
    /// The weights of a checked checkpoint.
    pub fn new(weights: Weights<'a>) -> Self {
        PlanWeights { weights }
    }

    /// Looks a name up; `all` of what is stacked, or only the first.
    fn part(&self, name: &str, all: bool) -> Result<Part<'a>, String> {
        self.find(name, all).map_err(|e| e.to_string())?.ok_or_else(|| "the model has no such weight".into())
    }

    fn find(&self, name: &str, all: bool) -> Result<Option<Part<'a>>, CheckpointError> {
        let w = &self.weights;
        let one = |m: Matrix<'a>| Part::Below(vec![m]);
        if let Some(rest) = name.strip_prefix("layers.") {
            let Some((layer, part)) = rest.split_once('.') else { return Ok(None) };
            return match layer.parse() {
                Ok(layer) => self.layer(layer, part, all),
                Err(_) => Ok(None),
            };
        }
        Ok(Some(match name {
            "embed" => one(w.embed()?),
            "lm_head" => one(w.lm_head()?),
            "norm" => Part::Vector(w.final_norm()?),
            // Bound to the gain of products without a norm; never read.
            "unused" => Part::Vector(vec![0.0]),
            _ => match name.strip_prefix("no_sinks.").and_then(|heads| heads.parse().ok()) {
                Some(heads) => Part::Vector(vec![HIDDEN; heads]),
                None => return Ok(None),
            },
        }))
    }

    fn layer(&self, layer: usize, part: &str, all: bool) -> Result<Option<Part<'a>>, CheckpointError> {
        let w = &self.weights;
        let below = Part::Below;
        let config = w.config().layers.get(layer);
        Ok(Some(match part {
            "attention_norm" => Part::Vector(w.attention_norm(layer)?),
            "mlp_norm" => Part::Vector(w.mlp_norm(layer)?),
            "qkv" => {
                let qkv = w.qkv(layer)?;
                below(vec![qkv.q, qkv.k, qkv.v])
            }
            "o" => below(vec![w.o_proj(layer)?]),
            "inv_freq" => match config {
                Some(c) => Part::Vector(c.attention.rope.inv_freq().into_iter().map(|f| f as f32).collect()),
                None => return Ok(None),
            },
            "sinks" => match w.sink(layer)? {
                Some(sinks) => Part::Vector(sinks),
                None => return Ok(None),
            },
            "mlp.gate" => below(vec![w.dense(layer)?.gate]),
            "mlp.up" => below(vec![w.dense(layer)?.up]),
            "mlp.down" => below(vec![w.dense(layer)?.down]),
            "router" => Part::Rows(w.router(layer)?.weight, w.config().hidden),
            "router_bias" => Part::Vector(w.router(layer)?.bias),
            "experts.gate" | "experts.up" | "experts.down" => {
                let Some(Mlp::Experts { count, .. }) = config.map(|c| &c.mlp) else { return Ok(None) };
                let mut list = Vec::new();
                for e in 0..if all { *count } else { 1 } {
                    let expert = w.expert(layer, e)?;
                    list.push(match part {
                        "experts.gate" => expert.gate,
                        "experts.up" => expert.up,
                        _ => expert.down,
                    });
                }
                Part::Stack(list, *count)
            }
            _ => return Ok(None),
        }))
    }
}

fn format(m: &Matrix<'_>) -> Format {
    match m.data {
        WeightData::Bf16(_) => Format::Plain(DType::Bf16),
        WeightData::F32(_) => Format::Plain(DType::F32),
        WeightData::Fp8Block { .. } => Format::Fp8,
        WeightData::Mxfp4 { .. } => Format::Mxfp4,
    }
}

/// The one format of all, f32 where they differ.
fn common(list: &[Matrix<'_>]) -> Format {
    let mut formats = list.iter().map(format);
    let first = formats.next().unwrap_or(Format::Plain(DType::F32));
    if formats.all(|f| f == first) { first } else { Format::Plain(DType::F32) }
}

fn f32_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Whether rounding to bf16 changes nothing.
fn exact_in_bf16(x: &[f32]) -> bool {
    x.iter().all(|v| v.to_bits().trailing_zeros() >= 16)
}

fn bf16_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

/// The elements, without scales, in a format that is the matrix's own or f32.
fn codes<'m>(m: &'m Matrix<'_>, as_format: Format) -> Cow<'m, [u8]> {
    match &m.data {
        _ if format(m) != as_format => f32_bytes(&m.to_f32()).into(),
        WeightData::Bf16(bytes) => Cow::Borrowed(bytes),
        WeightData::F32(x) => f32_bytes(x).into(),
        WeightData::Fp8Block { codes, .. } | WeightData::Mxfp4 { codes, .. } => Cow::Borrowed(codes),
    }
}

/// FP8 scales of matrices one below the other, columns first.
fn fp8_scales(list: &[&Matrix<'_>]) -> Vec<u8> {
    let blocks = list.first().map_or(0, |m| m.cols.div_ceil(FP8_BLOCK));
    let mut out = Vec::new();
    for b in 0..blocks {
        for m in list {
            if let WeightData::Fp8Block { row_scales, .. } = &m.data {
                out.extend((0..m.rows).flat_map(|r| row_scales[r * blocks + b].to_le_bytes()));
            }
        }
    }
    out
}

impl WeightCatalog for PlanWeights<'_> {
    fn info(&self, name: &str) -> Result<WeightInfo, String> {
        Ok(match self.part(name, false)? {
            Part::Vector(x) => WeightInfo { format: Format::Plain(DType::F32), dims: vec![x.len()] },
            Part::Rows(x, columns) => {
                let d = if exact_in_bf16(&x) { DType::Bf16 } else { DType::F32 };
                WeightInfo { format: Format::Plain(d), dims: vec![x.len() / columns, columns] }
            }
            Part::Below(list) => {
                let columns = list.first().map_or(0, |m| m.cols);
                WeightInfo { format: common(&list), dims: vec![list.iter().map(|m| m.rows).sum(), columns] }
            }
            Part::Stack(list, count) => {
                let (rows, columns) = list.first().map_or((0, 0), |m| (m.rows, m.cols));
                WeightInfo { format: common(&list), dims: vec![count, rows, columns] }
            }
        })
    }
}

impl WeightSource for PlanWeights<'_> {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        let base = name.strip_suffix(".scales");
        let part = self.part(base.unwrap_or(name), true)?;
        let (list, stacked) = match part {
            Part::Vector(x) if base.is_none() => return Ok(f32_bytes(&x).into()),
            Part::Rows(x, _) if base.is_none() && exact_in_bf16(&x) => return Ok(bf16_bytes(&x).into()),
            Part::Rows(x, _) if base.is_none() => return Ok(f32_bytes(&x).into()),
            Part::Vector(_) | Part::Rows(..) => return Err("it has no scales".into()),
            Part::Below(list) => (list, false),
            Part::Stack(list, _) => (list, true),
        };
        let as_format = common(&list);
        if let Some(odd) = list.iter().find(|m| stacked && list.first().is_some_and(|l| format(l) != format(m))) {
            return Err(format!("`{}` is stored otherwise than the layer's other experts", odd.name));
        }
        if base.is_some() {
            return scales(&list, stacked, as_format).map(Cow::Owned);
        }
        let mut list = list;
        match (list.len(), list.pop()) {
            // Alone and as stored: not copied.
            (1, Some(Matrix { data: WeightData::Bf16(bytes) | WeightData::Fp8Block { codes: bytes, .. }, .. })) => {
                Ok(bytes)
            }
            (_, last) => {
                list.extend(last);
                let mut out = Vec::new();
                list.iter().for_each(|m| out.extend_from_slice(&codes(m, as_format)));
                Ok(out.into())
            }
        }
    }
}

/// The scales of matrices in one format.
fn scales(list: &[Matrix<'_>], stacked: bool, as_format: Format) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match as_format {
        Format::Fp8 if stacked => list.iter().for_each(|m| out.extend(fp8_scales(&[m]))),
        Format::Fp8 => out = fp8_scales(&list.iter().collect::<Vec<_>>()),
        Format::Mxfp4 => {
            for m in list {
                if let WeightData::Mxfp4 { scales, .. } = &m.data {
                    out.extend_from_slice(scales);
                }
            }
        }
        Format::Plain(_) => return Err("it has no scales".into()),
    }
    Ok(out)
}

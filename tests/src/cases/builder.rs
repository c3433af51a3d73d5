//! Putting cases together: operands with random contents, one after the other.

use super::{Case, Expectation, Expected};
use crate::random::Random;
use std::borrow::Cow;
use std::collections::HashMap;
use tile_lang::DType;
use tile_lang::build::{Generic, KernelDef};
use tile_lang::exec::{Data, WeightSource};
use tile_lang::interp::round_to;
use tile_lang::ir::Kernel;
use tile_lang::plan::{Buffer, Operand, Plan, Visibility, Weight};
use tile_models::checkpoint::{Matrix, WeightData};
use tile_models::graph::Format;
use tile_models::kernels::state;
use tile_models::quant::{bf16_encode, bf16_round};
use tile_models::reference::ops::{self, Precision};

/// The ε of all norms.
pub const EPS: f32 = 1e-5;
/// Errors allowed of results in f32: operands are rounded alike, but a norm's last bit may round one of them otherwise.
pub const F32_ERROR: f64 = 3e-3;
/// Errors allowed of results in bf16.
pub const BF16_ERROR: f64 = 2e-2;

/// Contents of weights by name.
#[derive(Clone, Debug, Default)]
pub struct Contents(HashMap<String, Vec<u8>>);

impl WeightSource for Contents {
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.0.get(name).map(|b| Cow::Borrowed(&b[..])).ok_or_else(|| format!("there is no weight `{name}`"))
    }
}

/// A case under construction.
#[derive(Debug)]
pub struct Build {
    plan: Plan,
    contents: Contents,
    start: Vec<(usize, Data)>,
    operands: Vec<Operand>,
    /// Keyed by the name.
    pub random: Random,
    /// Fewest bytes, counted as operands are added; cases that touch only parts of them set it.
    pub bytes: u64,
    /// Operations of products.
    pub flops: u64,
    name: String,
    shape: String,
}

/// The result of building.
pub type Built = Result<Case, String>;

/// An output buffer and its contents at the start.
#[derive(Clone, Debug)]
pub struct Out<T> {
    /// The buffer.
    pub buffer: usize,
    /// Its contents at the start.
    pub start: Vec<T>,
}

impl Out<f32> {
    /// What must be there afterwards.
    pub fn reals(&self, data: Vec<f32>) -> Expected {
        assert_eq!(data.len(), self.start.len());
        Expected { buffer: self.buffer, data: Data::F32(data), magnitudes: None }
    }
}

impl Out<f32> {
    /// As [`Out::reals`], of one of `every` rows of `n` elements; the others aren't looked at.
    pub fn some_rows(&self, n: usize, every: usize, data: Vec<f32>) -> Expected {
        let squares: f64 = data.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let rms = (squares / data.len().max(1) as f64).sqrt() as f32;
        let mut all = vec![0.0; self.start.len()];
        let mut magnitudes = vec![f32::INFINITY; all.len()];
        for (i, row) in data.chunks(n).enumerate() {
            let at = i * every * n..i * every * n + n;
            all[at.clone()].copy_from_slice(row);
            magnitudes[at].fill(rms);
        }
        Expected { magnitudes: Some(magnitudes), ..self.reals(all) }
    }
}

impl Out<i32> {
    /// What must be there afterwards.
    pub fn integers(&self, data: Vec<i32>) -> Expected {
        assert_eq!(data.len(), self.start.len());
        Expected { buffer: self.buffer, data: Data::I32(data), magnitudes: None }
    }
}

/// Rounds to an element type of buffers.
pub fn round(dtype: DType, x: f32) -> f32 {
    if dtype == DType::F32 { x } else { round_to(dtype, x) }
}

/// Rounds everything to an element type of buffers.
pub fn rounded(dtype: DType, x: Vec<f32>) -> Vec<f32> {
    x.into_iter().map(|x| round(dtype, x)).collect()
}

/// Rounds everything to bf16.
pub fn to_bf16(x: Vec<f32>) -> Vec<f32> {
    x.into_iter().map(bf16_round).collect()
}

/// The error allowed of results of this type.
pub fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::Bf16 { BF16_ERROR } else { F32_ERROR }
}

/// x · Wᵀ for rows that are rounded already: weights in f32 are rounded on the way, scaled ones after their products.
pub fn product(x: &[f32], w: &Matrix<'_>) -> Vec<f32> {
    let precision = if matches!(w.data, WeightData::F32(_)) { Precision::Native } else { Precision::F32 };
    ops::linear(x, w, precision)
}

/// The rows of a product's prologue: normalised where there is a gain, rounded to bf16.
pub fn prologue(x: &[f32], gain: Option<&[f32]>) -> Vec<f32> {
    to_bf16(gain.map_or_else(|| x.to_vec(), |g| ops::rms_norm(x, g, EPS)))
}

/// The words of `state`.
pub fn state_words(position: usize, rows: usize, choices: usize) -> Vec<i32> {
    let mut words = vec![0; state::STATE_WORDS];
    words[state::POSITION as usize] = position as i32;
    words[state::ROWS as usize] = rows as i32;
    words[state::CHOICES as usize] = choices as i32;
    words
}

fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Build {
    /// A case of a kernel; `kernel` and `shape` make the name.
    pub fn new(kernel: &str, shape: &str) -> Self {
        // Kernels for one format have it in their names already.
        let suffix = kernel.rsplit('_').next().unwrap_or_default();
        let shape = shape.strip_prefix(suffix).and_then(|s| s.strip_prefix('_')).unwrap_or(shape);
        let name = format!("{kernel}_{shape}");
        let mut plan = Plan::new(&name);
        plan.buffers.push(buffer("stop".into(), DType::I32, &[1]));
        Build {
            plan,
            contents: Contents::default(),
            start: Vec::new(),
            operands: Vec::new(),
            random: Random(seed(&name)),
            bytes: 0,
            flops: 0,
            name,
            shape: shape.into(),
        }
    }

    /// A weight of stored bytes.
    pub fn weight(&mut self, dtype: DType, dims: &[usize], bytes: Vec<u8>) {
        let name = format!("arg{}", self.operands.len());
        self.bytes += bytes.len() as u64;
        self.contents.0.insert(name.clone(), bytes);
        self.plan.weights.push(Weight { name, dtype, dims: dims.to_vec() });
        self.operands.push(Operand::Weight { id: self.plan.weights.len() - 1 });
    }

    fn array(&mut self, dtype: DType, dims: &[usize], data: Data) -> usize {
        self.plan.buffers.push(buffer(format!("arg{}", self.operands.len()), dtype, dims));
        let id = self.plan.buffers.len() - 1;
        self.bytes += dtype.bytes(dims.iter().product()) as u64;
        self.start.push((id, data));
        self.operands.push(Operand::Buffer { id, offset: 0, dims: dims.to_vec() });
        id
    }

    /// A number.
    pub fn f32(&mut self, x: f32) {
        self.operands.push(Operand::F32(x));
    }

    /// A number.
    pub fn i32(&mut self, x: usize) {
        self.operands.push(Operand::I32(x as i32));
    }

    /// A constant vector of f32.
    pub fn vector(&mut self, n: usize, mut element: impl FnMut(usize, &mut Random) -> f32) -> Vec<f32> {
        let x: Vec<f32> = (0..n).map(|i| element(i, &mut self.random)).collect();
        self.weight(DType::F32, &[n], x.iter().flat_map(|v| v.to_le_bytes()).collect());
        x
    }

    /// A norm's weight, or the one that stands in where there is no norm.
    pub fn gain(&mut self, k: usize, norm: bool) -> Option<Vec<f32>> {
        if norm {
            return Some(self.vector(k, |_, r| 1.0 + 0.2 * r.normal()));
        }
        self.vector(1, |_, _| f32::NAN);
        None
    }

    /// A weight matrix and its scales, whose products with rows of variance 1 have a variance of about 1.
    pub fn matrix(&mut self, format: Format, n: usize, k: usize) -> Matrix<'static> {
        let mut list = self.matrices(format, &[], n, k);
        list.remove(0)
    }

    /// Matrices of `experts`, one behind the other in one weight.
    pub fn expert_matrices(&mut self, format: Format, experts: usize, n: usize, k: usize) -> Vec<Matrix<'static>> {
        self.matrices(format, &[experts], n, k)
    }

    fn matrices(&mut self, format: Format, batch: &[usize], n: usize, k: usize) -> Vec<Matrix<'static>> {
        let count = batch.first().copied().unwrap_or(1);
        let list: Vec<Matrix<'static>> = (0..count).map(|_| matrix(&mut self.random, format, n, k)).collect();
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for m in &list {
            match &m.data {
                WeightData::Bf16(bytes) => codes.extend_from_slice(bytes),
                WeightData::F32(x) => codes.extend(x.iter().flat_map(|v| v.to_le_bytes())),
                WeightData::Fp8Block { codes: c, row_scales } => {
                    codes.extend_from_slice(c);
                    // Columns first.
                    let blocks = k.div_ceil(128);
                    for b in 0..blocks {
                        scales.extend((0..n).flat_map(|row| row_scales[row * blocks + b].to_le_bytes()));
                    }
                }
                WeightData::Mxfp4 { codes: c, scales: s } => {
                    codes.extend_from_slice(c);
                    scales.extend_from_slice(s);
                }
            }
        }
        let dims = |tail: [usize; 2]| [batch, &tail].concat();
        match format {
            Format::Plain(d) => self.weight(d, &dims([n, k]), codes),
            Format::Fp8 => {
                self.weight(DType::E4m3, &dims([n, k]), codes);
                self.weight(DType::F32, &dims([k.div_ceil(128), n]), scales);
            }
            Format::Mxfp4 => {
                self.weight(DType::E2m1, &dims([n, k]), codes);
                self.weight(DType::E8m0, &dims([n, k / 32]), scales);
            }
        }
        list
    }

    /// A buffer of normal numbers times `scale`.
    pub fn rows(&mut self, dtype: DType, dims: &[usize], scale: f32) -> Vec<f32> {
        let x = repeated(dims.iter().product(), || round(dtype, scale * self.random.normal()));
        self.given(dtype, dims, x.clone());
        x
    }

    /// A buffer with these contents.
    pub fn given(&mut self, dtype: DType, dims: &[usize], x: Vec<f32>) -> usize {
        assert_eq!(x.len(), dims.iter().product::<usize>());
        self.array(dtype, dims, Data::F32(x))
    }

    /// A buffer of integers.
    pub fn integers(&mut self, dims: &[usize], x: Vec<i32>) -> Out<i32> {
        assert_eq!(x.len(), dims.iter().product::<usize>());
        Out { buffer: self.array(DType::I32, dims, Data::I32(x.clone())), start: x }
    }

    /// A buffer of reals that is written: random at first; in 16 bits so large that no result is equal by chance.
    pub fn out(&mut self, dtype: DType, dims: &[usize]) -> Out<f32> {
        let offset = if dtype.bits() == 16 { 200.0 } else { 0.0 };
        let start = repeated(dims.iter().product(), || round(dtype, offset + self.random.normal()));
        Out { buffer: self.given(dtype, dims, start.clone()), start }
    }

    /// A buffer of integers that is written: negative at first.
    pub fn out_integers(&mut self, dims: &[usize]) -> Out<i32> {
        let n = dims.iter().product();
        let start = (0..n).map(|_| -1 - (self.random.bits() % 1000) as i32).collect();
        self.integers(dims, start)
    }

    /// A buffer of any element type with these numbers, integers and truth values among them.
    pub fn numbers(&mut self, dtype: DType, dims: &[usize], x: &[f64]) -> usize {
        self.array(dtype, dims, numbers(dtype, x))
    }

    /// Ends the case.
    pub fn finish(self, def: KernelDef, generics: &[Generic], dtype: &str, error: f64, expect: Expectation) -> Built {
        let kernel = def.instance(generics).map_err(|e| format!("{}: {e}", self.name))?;
        self.finish_kernel(kernel, dtype, error, expect)
    }

    /// Ends the case of a kernel that was built by hand.
    pub fn finish_kernel(self, kernel: Kernel, dtype: &str, error: f64, expect: Expectation) -> Built {
        let Build { mut plan, contents, start, operands, bytes, flops, name, shape, .. } = self;
        let kernel_name = kernel.name.clone();
        let kernel = plan.kernel(kernel);
        plan.push(kernel, operands, &name, (file!(), line!())).map_err(|e| format!("{name}: {e}"))?;
        plan.link();
        Ok(Case {
            name,
            kernel: kernel_name,
            shape,
            dtype: dtype.into(),
            plan,
            weights: contents,
            start,
            tolerance: error,
            bytes,
            flops,
            large: false,
            expect,
        })
    }
}

/// Numbers as a buffer of this element type takes them; f64 holds those of every type.
pub fn numbers(dtype: DType, x: &[f64]) -> Data {
    if dtype.is_float() {
        Data::F32(x.iter().map(|x| *x as f32).collect())
    } else {
        Data::I32(x.iter().map(|x| *x as i32).collect())
    }
}

fn buffer(name: String, dtype: DType, dims: &[usize]) -> Buffer {
    Buffer { name, dtype, dims: dims.to_vec(), visibility: Visibility::Device }
}

/// Elements after which large arrays repeat: prime, so that rows differ.
const PERIOD: usize = 1_000_003;

/// `count` elements; those of large arrays repeat.
fn repeated<T: Copy>(count: usize, mut element: impl FnMut() -> T) -> Vec<T> {
    let mut out: Vec<T> = (0..count.min(PERIOD)).map(|_| element()).collect();
    out.reserve_exact(count - out.len());
    while out.len() < count {
        let more = (count - out.len()).min(PERIOD);
        out.extend_from_within(..more);
    }
    out
}

fn matrix(random: &mut Random, format: Format, n: usize, k: usize) -> Matrix<'static> {
    let scale = 1.0 / (k as f32).sqrt();
    let data = match format {
        Format::Plain(DType::Bf16) => {
            let elements = repeated(n * k, || bf16_encode(random.normal() * scale).to_le_bytes());
            WeightData::Bf16(elements.into_flattened().into())
        }
        Format::Plain(_) => WeightData::F32(repeated(n * k, || random.normal() * scale)),
        Format::Fp8 => {
            // Exponents from those of subnormals to 2³.
            let codes = repeated(n * k, || {
                let bits = random.bits();
                (bits as u8 & 0x87) | (((bits >> 8) % 11) as u8) << 3
            });
            let row_scales = repeated(n * k.div_ceil(128), || (0.5 + random.uniform()) * scale / 4.0);
            WeightData::Fp8Block { codes: codes.into(), row_scales }
        }
        Format::Mxfp4 => {
            let codes = repeated(n * k / 2, || random.bits() as u8);
            let middle = 127 + (scale / 3.0).log2().round() as i32;
            let scales = repeated(n * k / 32, || (middle - 1 + (random.bits() % 3) as i32) as u8);
            WeightData::Mxfp4 { codes: codes.into(), scales: scales.into() }
        }
    };
    Matrix { name: "w".into(), rows: n, cols: k, data }
}

/// The name of a format.
pub fn format_name(format: Format) -> &'static str {
    match format {
        Format::Plain(d) => d.name(),
        Format::Fp8 => "fp8",
        Format::Mxfp4 => "mxfp4",
    }
}

/// Generics of kernels for weights of a format: the element type if it is plain, `types`, `sizes`, BK and the scales'
/// share of it.
pub fn product_generics(format: Format, types: &[Generic], sizes: &[usize], bk: usize) -> Vec<Generic> {
    let mut out: Vec<Generic> = Vec::new();
    if let Format::Plain(d) = format {
        out.push(d.into());
    }
    out.extend_from_slice(types);
    out.extend(sizes.iter().map(|n| Generic::from(*n)));
    out.push(bk.into());
    match format {
        Format::Plain(_) => {}
        Format::Fp8 => out.push((bk / 128).into()),
        Format::Mxfp4 => out.push((bk / 32).into()),
    }
    out
}

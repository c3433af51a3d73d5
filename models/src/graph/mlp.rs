//! Gated MLPs, dense and of routed experts.

use super::ops::Matrix;
use super::pick::{BM, block_columns, power};
use super::{Format, Graph, Node, Result, Step, W};
use crate::kernels::{experts, mlp, projection, projection_fp4, router};
use std::panic::Location;
use tile_lang::DType;
use tile_lang::build::Generic;
use tile_lang::plan::Operand;

/// Items that keep a device busy.
const BUSY: usize = 128;

/// Where the rows of a block go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    weights: usize,
    list: usize,
    count: usize,
    experts: usize,
    slots: usize,
}

/// How experts are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouteOptions {
    /// Experts.
    pub experts: usize,
    /// Experts for each token.
    pub top_k: usize,
    /// Whether their weights are divided by their sum.
    pub normalize: bool,
    /// What the weights are multiplied by.
    pub scaling: f32,
}

impl Graph<'_> {
    /// x + D·(silu(G·h) · (U·h)), in place. `w` holds `gate`, `up` and `down`.
    #[track_caller]
    pub fn swiglu_add(&self, h: Node, w: W, inner: usize, x: Node) -> Node {
        let caller = Location::caller();
        self.record(x, || {
            let gate = self.matrix(&w.get("gate"), inner, h.columns, None)?;
            let up = self.matrix(&w.get("up"), inner, h.columns, None)?;
            let y = self.buffer("inner", DType::Bf16, &[self.options.rows, inner]);
            self.alike(caller, &gate, &up)?;
            let def = match gate.format {
                Format::Plain(_) => mlp::swiglu::DEF,
                Format::Fp8 => mlp::swiglu_fp8::DEF,
                Format::Mxfp4 => mlp::swiglu_mxfp4::DEF,
            };
            let all = match gate.format {
                Format::Mxfp4 => projection_fp4::project_gated_mxfp4::DEF,
                _ => projection::project_gated::DEF,
            };
            if let Some(tile) = self.product_of_all("gate_up", &gate, 2, [all.name, def.name]) {
                let tail = vec![self.operand_rows(caller, h)?, self.whole(y)];
                self.push(caller, "gate_up", all, tile, [gate.operands, up.operands, tail].concat())?;
            } else {
                for b in 0..self.blocks() {
                    let input = self.input(h, b);
                    let generics = self.pair_generics(&gate, vec![input.dtype.into(), input.norm.into()]);
                    let tail = vec![input.rows, input.gain, self.block_of(y, b), input.eps];
                    let operands = [gate.operands.clone(), up.operands.clone(), tail].concat();
                    self.push(caller, &self.block_label("gate_up", b), def, generics, operands)?;
                }
            }
            let y = Node { buffer: y, columns: inner, norm: None };
            self.product_add(caller, "down", y, &w.get("down"), x)?;
            Ok(x)
        })
    }

    /// Refuses a gate and an up projection that are stored differently.
    fn alike(&self, caller: &Location<'_>, gate: &Matrix, up: &Matrix) -> Result<()> {
        if gate.format == up.format {
            return Ok(());
        }
        let problem = format!("a gate stored as {:?} beside an up projection as {:?}", gate.format, up.format);
        Err(self.unsupported(caller, problem))
    }

    /// Generics of kernels with a gate and an up projection for blocks of rows.
    fn pair_generics(&self, gate: &Matrix, types: Vec<Generic>) -> Vec<Generic> {
        let sizes = vec![self.block_rows().into(), BM.into()];
        [gate.element(), types, sizes, gate.blocks(2, self.options.slot_bytes)].concat()
    }

    /// Chooses experts for each row. `w` holds `router` and `router_bias`.
    #[track_caller]
    pub fn route(&self, step: Step, h: Node, w: W, options: RouteOptions) -> Routing {
        let caller = Location::caller();
        let RouteOptions { experts, top_k, normalize, scaling } = options;
        let rows = self.block_rows();
        let slots = experts.min(rows * top_k);
        let nothing = Routing { weights: 0, list: 0, count: 0, experts, slots };
        self.record(nothing, || {
            let m = self.matrix(&w.get("router"), experts, h.columns, None)?;
            let Format::Plain(d) = m.format else {
                return Err(self.unsupported(caller, format!("a router stored as {:?}", m.format)));
            };
            let bk = block_columns(h.columns, d.bytes(128 * BM), self.options.slot_bytes);
            let parts = (BUSY / experts.div_ceil(BM)).clamp(1, h.columns.div_ceil(bk));
            let part = self.scratch("router", DType::F32, &[parts, rows, experts]);
            let split = usize::from(d != DType::Bf16);
            let bias = Operand::Weight { id: self.vector(&w.get("router_bias"), experts)? };
            let weights = self.scratch("weights", DType::F32, &[experts, rows]);
            let list = self.scratch("list", DType::I32, &[slots]);
            let count = self.scratch("count", DType::I32, &[1]);
            let (logits, choose) = (router::router_logits::DEF, router::route::DEF);
            self.picked(
                "router",
                logits.name,
                "almost f32, from normalised rows before they are rounded: blocks of 16 rows",
            );
            for b in 0..self.blocks() {
                let input = self.input(h, b);
                let types: Vec<Generic> = vec![d.into(), input.dtype.into(), input.norm.into(), split.into()];
                let generics = [types, vec![rows.into(), BM.into(), bk.into()]].concat();
                let tail = vec![input.rows, input.gain, self.scratch_of(part, b), input.eps];
                let operands = [m.operands.clone(), tail].concat();
                self.push(caller, &self.block_label("router", b), logits, generics, operands)?;

                let generics = [rows, power(experts), power(slots), top_k, usize::from(normalize)];
                let mut operands = vec![self.scratch_of(part, b), bias.clone(), self.block_state(step, b)];
                operands.extend([weights, list, count].map(|s| self.scratch_of(s, b)));
                operands.push(Operand::F32(scaling));
                let generics = generics.map(Into::into).to_vec();
                self.push(caller, &self.block_label("route", b), choose, generics, operands)?;
            }
            Ok(Routing { weights, list, count, ..nothing })
        })
    }

    /// x + Σ weight · D·(silu(G·h) · (U·h)) over each row's experts, in place. `w` holds `gate`, `up` and `down`.
    #[track_caller]
    pub fn experts_add(&self, h: Node, routing: Routing, w: W, inner: usize, x: Node) -> Node {
        let caller = Location::caller();
        self.record(x, || {
            let (rows, count) = (self.block_rows(), Some(routing.experts));
            let gate = self.matrix(&w.get("gate"), inner, h.columns, count)?;
            let up = self.matrix(&w.get("up"), inner, h.columns, count)?;
            self.alike(caller, &gate, &up)?;
            let down = self.matrix(&w.get("down"), x.columns, inner, count)?;
            let y = self.scratch("experts", DType::Bf16, &[routing.slots, rows, inner]);
            let first = match gate.format {
                Format::Plain(_) => experts::experts_swiglu::DEF,
                Format::Fp8 => experts::experts_swiglu_fp8::DEF,
                Format::Mxfp4 => experts::experts_swiglu_mxfp4::DEF,
            };
            let second = match down.format {
                Format::Plain(_) => experts::experts_down::DEF,
                Format::Fp8 => experts::experts_down_fp8::DEF,
                Format::Mxfp4 => experts::experts_down_mxfp4::DEF,
            };
            for def in [first, second] {
                self.picked("experts", def.name, "each block of 16 rows reads the experts that it uses");
            }
            for b in 0..self.blocks() {
                let input = self.input(h, b);
                let generics = self.pair_generics(&gate, vec![input.dtype.into(), input.norm.into()]);
                let chosen = [routing.list, routing.count].map(|s| self.scratch_of(s, b)).to_vec();
                let tail = vec![input.rows, input.gain, self.scratch_of(y, b), input.eps];
                let operands = [gate.operands.clone(), up.operands.clone(), chosen.clone(), tail].concat();
                self.push(caller, &self.block_label("gate_up", b), first, generics, operands)?;

                let sizes = vec![rows.into(), BM.into()];
                let generics = [down.element(), sizes, down.blocks(1, self.options.slot_bytes)].concat();
                let tail = vec![self.scratch_of(routing.weights, b), self.scratch_of(y, b), self.block_of(x.buffer, b)];
                let operands = [down.operands.clone(), chosen, tail].concat();
                self.push(caller, &self.block_label("down", b), second, generics, operands)?;
            }
            Ok(x)
        })
    }
}

//! Gated MLPs, dense and of routed experts.

use super::ops::Matrix;
use super::pick::{BM, block_columns, power};
use super::{Format, Graph, Node, Result, Step, W};
use crate::kernels::{experts, mlp, router};
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
            let input = self.input(h);
            let types: Vec<Generic> = vec![input.dtype.into(), input.norm.into()];
            let generics = self.pair_generics(caller, &gate, &up, types)?;
            let def = match gate.format {
                Format::Plain(_) => mlp::swiglu::DEF,
                Format::Fp8 => mlp::swiglu_fp8::DEF,
                Format::Mxfp4 => mlp::swiglu_mxfp4::DEF,
            };
            let tail = vec![input.rows, input.gain, self.whole(y), input.eps];
            self.push(caller, "gate_up", def, generics, [gate.operands, up.operands, tail].concat())?;
            let y = Node { buffer: y, columns: inner, norm: None };
            self.product_add(caller, "down", y, &w.get("down"), x)?;
            Ok(x)
        })
    }

    /// Generics of kernels with a gate and an up projection.
    fn pair_generics(
        &self,
        caller: &Location<'_>,
        gate: &Matrix,
        up: &Matrix,
        types: Vec<Generic>,
    ) -> Result<Vec<Generic>> {
        if gate.format != up.format {
            let problem = format!("a gate stored as {:?} beside an up projection as {:?}", gate.format, up.format);
            return Err(self.unsupported(caller, problem));
        }
        let sizes = vec![self.options.rows.into(), BM.into()];
        Ok([gate.element(), types, sizes, gate.blocks(2, self.options.slot_bytes)].concat())
    }

    /// Chooses experts for each row. `w` holds `router` and `router_bias`.
    #[track_caller]
    pub fn route(&self, step: Step, h: Node, w: W, options: RouteOptions) -> Routing {
        let caller = Location::caller();
        let RouteOptions { experts, top_k, normalize, scaling } = options;
        let rows = self.options.rows;
        let slots = experts.min(rows * top_k);
        let nothing = Routing { weights: 0, list: 0, count: 0, experts, slots };
        self.record(nothing, || {
            let m = self.matrix(&w.get("router"), experts, h.columns, None)?;
            let Format::Plain(d) = m.format else {
                return Err(self.unsupported(caller, format!("a router stored as {:?}", m.format)));
            };
            let bk = block_columns(h.columns, d.bytes(128 * BM), self.options.slot_bytes);
            let parts = (BUSY / experts.div_ceil(BM)).clamp(1, h.columns.div_ceil(bk));
            let part = self.buffer("router", DType::F32, &[parts, rows, experts]);
            let input = self.input(h);
            let split = usize::from(d != DType::Bf16);
            let types: Vec<Generic> = vec![d.into(), input.dtype.into(), input.norm.into(), split.into()];
            let generics = [types, vec![rows.into(), BM.into(), bk.into()]].concat();
            let operands = [m.operands, vec![input.rows, input.gain, self.whole(part), input.eps]].concat();
            self.push(caller, "router", router::router_logits::DEF, generics, operands)?;

            let bias = Operand::Weight { id: self.vector(&w.get("router_bias"), experts)? };
            let weights = self.buffer("weights", DType::F32, &[experts, rows]);
            let list = self.buffer("list", DType::I32, &[slots]);
            let count = self.buffer("count", DType::I32, &[1]);
            let generics = [rows, power(experts), power(slots), top_k, usize::from(normalize)];
            let mut operands = vec![self.whole(part), bias];
            operands.extend([step.state, weights, list, count].map(|b| self.whole(b)));
            operands.push(Operand::F32(scaling));
            self.push(caller, "route", router::route::DEF, generics.map(Into::into).to_vec(), operands)?;
            Ok(Routing { weights, list, count, ..nothing })
        })
    }

    /// x + Σ weight · D·(silu(G·h) · (U·h)) over each row's experts, in place. `w` holds `gate`, `up` and `down`.
    #[track_caller]
    pub fn experts_add(&self, h: Node, routing: Routing, w: W, inner: usize, x: Node) -> Node {
        let caller = Location::caller();
        self.record(x, || {
            let (rows, count) = (self.options.rows, Some(routing.experts));
            let gate = self.matrix(&w.get("gate"), inner, h.columns, count)?;
            let up = self.matrix(&w.get("up"), inner, h.columns, count)?;
            let y = self.buffer("experts", DType::Bf16, &[routing.slots, rows, inner]);
            let input = self.input(h);
            let types: Vec<Generic> = vec![input.dtype.into(), input.norm.into()];
            let generics = self.pair_generics(caller, &gate, &up, types)?;
            let def = match gate.format {
                Format::Plain(_) => experts::experts_swiglu::DEF,
                Format::Fp8 => experts::experts_swiglu_fp8::DEF,
                Format::Mxfp4 => experts::experts_swiglu_mxfp4::DEF,
            };
            let chosen = vec![self.whole(routing.list), self.whole(routing.count)];
            let tail = vec![input.rows, input.gain, self.whole(y), input.eps];
            self.push(caller, "gate_up", def, generics, [gate.operands, up.operands, chosen.clone(), tail].concat())?;

            let down = self.matrix(&w.get("down"), x.columns, inner, count)?;
            let sizes = vec![rows.into(), BM.into()];
            let generics = [down.element(), sizes, down.blocks(1, self.options.slot_bytes)].concat();
            let def = match down.format {
                Format::Plain(_) => experts::experts_down::DEF,
                Format::Fp8 => experts::experts_down_fp8::DEF,
                Format::Mxfp4 => experts::experts_down_mxfp4::DEF,
            };
            let tail = [routing.weights, y, x.buffer].map(|b| self.whole(b)).to_vec();
            self.push(caller, "down", def, generics, [down.operands, chosen, tail].concat())?;
            Ok(x)
        })
    }
}

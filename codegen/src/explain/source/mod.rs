//! A kernel as Rust source with explicit roles: level 3 of the language.
//!
//! The text stages to the same ops in the same order, so that it compiles to the same code. Rust evaluates arguments before a call
//! and the builder makes constants of literals in the call; an expression is written inside of another one only where that gives
//! the order of the kernel, everything else is bound by `let` first ([`block`]). What both roles compute up to the work item
//! stands before the roles ([`shared`]). What a schedule pins and neither rings nor roles say is a schedule beside the kernel ([`schedule`]).

mod block;
mod op;
mod schedule;
mod shared;
mod text;

use crate::CodegenError;
use block::Writer;
use std::collections::HashSet;
use tile_lang::dtype::DType;
use tile_lang::ir::{Access, Kernel, OpKind, RingPart, Role, Type, slot_layout};

/// The types of a slot's parts.
type Parts = Vec<(DType, Vec<usize>)>;

/// A file of one kernel, by [`as_source`]; it says which instance it is.
///
/// # Errors
/// As [`as_source`].
pub fn source_file(k: &Kernel) -> Result<String, CodegenError> {
    let generics: Vec<String> = k.generics.iter().map(|(n, v)| format!("{n} = {v}")).collect();
    let of = if generics.is_empty() { String::new() } else { format!(" for {}", generics.join(", ")) };
    let text = as_source(k)?;
    Ok(format!("use monotile::prelude::*;\n\n/// `{}` with explicit roles{of}.\n{text}", k.name))
}

/// Prints a kernel that is split into roles, with its requirements ([`explicit_roles`](crate::passes::explicit_roles)), as a function of a
/// file that begins with `use monotile::prelude::*;`, and its schedule as another one, if there is any.
///
/// # Errors
/// A kernel that is not split into roles, or that no source stages to.
pub fn as_source(k: &Kernel) -> Result<String, CodegenError> {
    let wrong =
        |message: &str| CodegenError::Plan(format!("kernel `{}` can't be printed as source: {message}", k.name));
    let consumer = k.body(Role::Consumer).ok_or_else(|| wrong("it is not split into roles"))?;
    let producer = k.body(Role::Producer);
    let shared = shared::shared(k, producer, consumer).map_err(wrong)?;
    let rings = rings(k).ok_or_else(|| wrong("the parts of a slot lie elsewhere than the language puts them"))?;

    let printed = [&shared.ops[..], &shared.producer, &shared.consumer];
    let mut w = Writer::new(k, shared.same.clone(), printed);
    let params: Vec<String> = k.params.iter().map(|p| w.param(p.value, &p.name)).collect();
    let ring_names: Vec<String> = rings.iter().map(|_| w.fresh("ring")).collect();
    w.rings = rings.iter().cloned().zip(ring_names).collect();
    let function = block::identifier(&k.name);
    w.line("#[tile::kernel]");
    w.line(&format!("pub fn {function}({}) {{", params.join(", ")));
    w.depth += 1;
    w.ops(&shared.ops, &[], &[]);
    for (parts, name) in w.rings.clone() {
        let slots = k.resources.slots;
        let tiles: Vec<String> = parts.iter().map(|(d, s)| tile_type("Smem", *d, s)).collect();
        let of = if let [one] = &tiles[..] { one.clone() } else { format!("({})", tiles.join(", ")) };
        w.line(&format!("let {name} = Ring::<{of}>::new::<{slots}>();"));
    }
    for (role, rest) in [(Role::Producer, &shared.producer), (Role::Consumer, &shared.consumer)] {
        if role == Role::Producer && rings.is_empty() {
            continue;
        }
        let asked = k.resources.roles.iter().find(|r| r.role == role);
        let (name, warps, registers) = match (asked, role) {
            (Some(r), _) => (r.name.as_str(), r.warps, r.registers),
            (None, Role::Producer) => ("load", 0, 0),
            (None, _) => ("math", 0, 0),
        };
        w.line(&format!("role({name:?}, {warps}, {registers}, || {{"));
        w.depth += 1;
        w.ops(rest, &[], &[]);
        w.depth -= 1;
        w.line("});");
    }
    w.depth -= 1;
    w.line("}");
    if let Some(problem) = w.problem {
        return Err(wrong(&problem));
    }
    let beside = schedule::beside(k, &w.renamed(), &function).map_err(wrong)?;
    Ok(w.out + &beside)
}

/// The kinds of slots, in the order in which they first appear. `None` if a part lies where the language wouldn't put it.
fn rings(k: &Kernel) -> Option<Vec<Parts>> {
    let mut out: Vec<Parts> = Vec::new();
    let mut sound = true;
    k.walk(|_, op| {
        if let OpKind::RingFill(parts) | OpKind::RingWait(parts) = &op.kind {
            let types = part_types(parts);
            sound &= slot_layout(&types).iter().zip(parts).all(|(a, b)| a.offset == b.offset);
            if !out.contains(&types) {
                out.push(types);
            }
        }
    });
    sound.then_some(out)
}

fn part_types(parts: &[RingPart]) -> Parts {
    parts.iter().map(|p| (p.dtype, p.shape.clone())).collect()
}

/// `Tile<f32, 16, 64>`.
fn tile_type(name: &str, d: DType, shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(|n| format!(", {n}")).collect();
    format!("{name}<{d}{}>", dims.concat())
}

/// `&Weight<bf16, 2>`.
fn param_type(ty: &Type) -> String {
    match ty {
        Type::Global(d, rank, Access::Weight) => format!("&Weight<{d}, {rank}>"),
        Type::Global(d, rank, Access::Read) => format!("&Global<{d}, {rank}>"),
        Type::Global(d, rank, Access::Write) => format!("&mut Global<{d}, {rank}>"),
        other => other.dtype().map_or_else(|| "?".into(), |d| d.to_string()),
    }
}

/// Names that a binding must not take: words of Rust, and functions that printed code calls.
fn reserved() -> HashSet<String> {
    let words = "as async await box break const continue crate do dyn else enum extern false final fn for gen if impl in let loop \
                 macro match mod move mut pub ref return self static struct super trait true try type unsafe use where while \
                 yield work pipelined mma select cdiv rsqrt to_bits from_bits shr_logical mul_high role require bool f32 i32";
    words.split_whitespace().map(str::to_owned).collect()
}

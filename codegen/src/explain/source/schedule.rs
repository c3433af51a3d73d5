//! The schedule beside a kernel with explicit roles: what is pinned of products, the order of items, and what there is no ring or role to say of.

use super::block::identifier;
use super::reserved;
use tile_lang::ir::{Kernel, OpId, OpKind, Role};
use tile_lang::schedule::{NamedOp, Raster, named_ops, resolve};

/// Longest line.
const WIDTH: usize = 100;

/// The schedule's text, empty where rings and roles say all. `printed` is the kernel with the names that it is printed with.
pub(super) fn beside(k: &Kernel, printed: &Kernel, function: &str) -> Result<String, &'static str> {
    let mut calls = unwritten(k);
    let mut name = String::from("chosen");
    if let Some(s) = k.schedule.as_deref() {
        name = identifier(&s.name);
        let resolved = resolve(k, s).map_err(|_| "its schedule names ops that it doesn't have")?;
        let ops = named_ops(printed);
        // One call for each op: names that meant several may not be shared any more.
        let id = |op: OpId| ops.iter().find(|n| n.op == op).map(NamedOp::id).ok_or("a product has no name");
        for (op, split) in &resolved.splits {
            let [rows, columns, depth] = split.warps;
            calls.push(format!("split({:?}, [{rows}, {columns}, {depth}])", id(*op)?));
        }
        for (op, at) in &resolved.inflight {
            calls.push(format!("inflight({:?}, {})", id(*op)?, s.inflight[*at].groups));
        }
        if s.turns.is_some() {
            let list =
                resolved.turns.iter().map(|op| Ok(format!("{:?}", id(*op)?))).collect::<Result<Vec<_>, &str>>()?;
            let call = if list.is_empty() { "without_turns()".into() } else { format!("turns([{}])", list.join(", ")) };
            calls.push(call);
        }
        calls.extend(s.raster.map(|r| match r.value {
            Raster::RowMajor => "raster(Raster::RowMajor)".to_owned(),
            Raster::ColumnMajor => "raster(Raster::ColumnMajor)".to_owned(),
            Raster::Grouped(n) => format!("raster(Raster::Grouped({n}))"),
        }));
        calls.extend(s.cluster.map(|c| format!("cluster({})", c.value)));
    }
    if calls.is_empty() {
        return Ok(String::new());
    }
    if name == function || reserved().contains(&name) {
        name += "_schedule";
    }
    let one = format!("    Schedule::new().{}", calls.join("."));
    let chain = if one.len() <= WIDTH {
        one
    } else {
        let calls: Vec<String> = calls.iter().map(|c| format!("\n        .{c}")).collect();
        format!("    Schedule::new(){}", calls.concat())
    };
    Ok(format!(
        "\n/// What rings and roles of `{function}` don't say.\n#[tile::schedule({function})]\npub fn {name}() -> Schedule {{\n{chain}\n}}\n"
    ))
}

/// What is pinned of the ring and of the role that fills it where the kernel stages nothing: neither is printed.
fn unwritten(k: &Kernel) -> Vec<String> {
    let mut stages = false;
    k.walk(|_, op| stages |= matches!(op.kind, OpKind::RingFill(_)));
    if stages {
        return Vec::new();
    }
    let slots = (k.resources.slots > 0).then(|| format!("stages(\"ring\", {})", k.resources.slots));
    let role = k.resources.roles.iter().filter(|r| r.role == Role::Producer);
    let numbers = role.flat_map(|r| [("warps", r.warps), ("registers", r.registers)]);
    let numbers = numbers.filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what}(\"producer\", {n})"));
    slots.into_iter().chain(numbers).collect()
}

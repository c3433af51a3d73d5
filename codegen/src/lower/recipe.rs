//! The straight-line code of elementwise ops, as their declarations give it: see [`tile_lang::ir::Code`].

use super::emit::{Emitter, Ssa};
use std::collections::HashMap;

/// A value with its LLVM type.
type Typed = (Ssa, String);

/// Emits a recipe; `args` are its operands `x`, `y` and `z`, of LLVM type `ty`. The error says what is wrong with the recipe.
pub(super) fn emit(e: &mut Emitter, recipe: &str, args: &[Ssa], ty: &str) -> Result<Ssa, String> {
    let mut names: HashMap<&str, Typed> =
        ["x", "y", "z"].into_iter().zip(args).map(|(name, v)| (name, (v.clone(), ty.to_owned()))).collect();
    let mut last = None;
    for statement in recipe.split(';').map(str::trim) {
        let (name, text) = match statement.split_once(" = ") {
            Some((name, text)) => (Some(name.trim()), text),
            None => (None, statement),
        };
        let value = instruction(e, text, &names, ty)?;
        if let Some(name) = name {
            names.insert(name, value);
        } else {
            last = Some(value.0);
        }
    }
    last.ok_or_else(|| format!("`{recipe}` has no last statement without a name"))
}

fn instruction(e: &mut Emitter, text: &str, names: &HashMap<&str, Typed>, ty: &str) -> Result<Typed, String> {
    let (op, rest) = text.split_once(' ').ok_or_else(|| format!("`{text}` has no operands"))?;
    let (rest, to) = match rest.split_once(" to ") {
        Some((rest, to)) => (rest, Some(to.trim())),
        None => (rest, None),
    };
    let words: Vec<&str> = rest.split(',').map(str::trim).collect();
    // A number has the type of the named operands beside it; the condition of `select` says nothing.
    let typed = words.iter().skip(usize::from(op == "select")).find_map(|w| names.get(w));
    let like = typed.map_or(ty, |(_, t)| t).to_owned();
    let mut args: Vec<Typed> = Vec::new();
    for word in words {
        args.push(match names.get(word) {
            Some(v) => v.clone(),
            None => (number(e, word, &like).ok_or_else(|| format!("`{word}` in `{text}` is no {like}"))?, like.clone()),
        });
    }
    let list = args.iter().map(|a| a.0.as_str()).collect::<Vec<_>>().join(", ");
    let types = args.iter().map(|a| a.1.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(to) = to {
        return Ok((e.op(&format!("llvm.{op} {list} : {types} to {to}")), to.into()));
    }
    if let Some(predicate) = op.strip_prefix("icmp.") {
        return Ok((e.op(&format!("llvm.icmp \"{predicate}\" {list} : {like}")), "i1".into()));
    }
    if let Some(predicate) = op.strip_prefix("fcmp.") {
        return Ok((e.op(&format!("llvm.fcmp \"{predicate}\" {list} : {like}")), "i1".into()));
    }
    if let Some(name) = op.strip_prefix("intr.") {
        return Ok((e.op(&format!("llvm.intr.{name}({list}) : ({types}) -> {like}")), like));
    }
    if op == "select" {
        return Ok((e.op(&format!("llvm.select {list} : i1, {like}")), like));
    }
    if op.contains('.') {
        return ptx(e, op, &args).map(|v| (v, like));
    }
    Ok((e.op(&format!("llvm.{op} {list} : {like}")), like))
}

/// One instruction of PTX on 32-bit registers; the result is of the operands' type.
fn ptx(e: &mut Emitter, op: &str, args: &[Typed]) -> Result<Ssa, String> {
    let constraint = |ty: &str| match ty {
        "f32" => Ok("f"),
        "i32" => Ok("r"),
        _ => Err(format!("`{op}` on {ty}: PTX instructions of recipes are on f32 and i32")),
    };
    let mut constraints = vec![format!("={}", constraint(&args[0].1)?)];
    for (_, ty) in args {
        constraints.push(constraint(ty)?.into());
    }
    let places: Vec<String> = (0..=args.len()).map(|i| format!("${i}")).collect();
    let operands: Vec<(&str, &str)> = args.iter().map(|(v, ty)| (v.as_str(), ty.as_str())).collect();
    Ok(e.pure_asm(&format!("{op} {};", places.join(", ")), &constraints.join(","), &operands, &args[0].1))
}

/// A constant.
fn number(e: &mut Emitter, text: &str, ty: &str) -> Option<Ssa> {
    Some(match ty {
        "f32" => e.f32(text.parse().ok()?),
        "i64" => e.i64(text.parse().ok()?),
        "i32" => e.i32(text.parse().ok()?),
        "i1" => e.bool(text.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tile_lang::ir::{BinaryOp, Code, TernaryOp, UnaryOp};

    fn all(code: Code, args: usize, name: &str) {
        for (recipe, ty) in [(code.f32, "f32"), (code.half, "bf16"), (code.i32, "i32"), (code.bool, "i1")] {
            let Some(recipe) = recipe else { continue };
            let mut e = Emitter::new(crate::target::DEFAULT);
            let operands: Vec<Ssa> = ["%a", "%b", "%c"][..args].iter().map(|v| (*v).into()).collect();
            let result = emit(&mut e, recipe, &operands, ty).unwrap_or_else(|m| panic!("{name}: {m}"));
            let (entry, code) = e.finish();
            let text = entry + &code;
            assert!(text.contains(&format!("{result} = ")), "{name}:\n{text}");
            // Every operand is read.
            assert!(operands.iter().all(|v| text.contains(v.as_str())), "{name}:\n{text}");
        }
    }

    #[test]
    fn every_recipe_is_well_formed() {
        UnaryOp::ALL.iter().for_each(|op| all(op.code(), 1, op.name()));
        BinaryOp::ALL.iter().for_each(|op| all(op.code(), 2, op.name()));
        TernaryOp::ALL.iter().for_each(|op| all(op.code(), 3, op.name()));
    }

    #[test]
    fn every_op_has_code_for_every_type_it_is_defined_on() {
        use tile_lang::DType;
        let check = |name: &str, types: &[DType], code: Code| {
            for d in types {
                let have = match d {
                    DType::I32 => code.i32,
                    DType::Bool => code.bool,
                    _ => code.f32,
                };
                assert!(have.is_some(), "`{name}` on {d} has no code");
            }
        };
        UnaryOp::ALL.iter().for_each(|op| check(op.name(), op.class().types(), op.code()));
        BinaryOp::ALL.iter().for_each(|op| check(op.name(), op.class().types(), op.code()));
        TernaryOp::ALL.iter().for_each(|op| check(op.name(), op.class().types(), op.code()));
    }

    #[test]
    fn mistakes_in_recipes_are_reported() {
        let mut e = Emitter::new(crate::target::DEFAULT);
        for (recipe, part) in [("fadd x, z", "`z`"), ("t = fadd x, x", "last statement"), ("fadd", "no operands")] {
            let error = emit(&mut e, recipe, &["%a".into()], "f32").unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}

//! Types: parameters, results, tile types, generic arguments.

use crate::ast::{Elem, FunctionKind, Generic, GenericParam, ParamKind, ResultType, TileType};
use syn::{GenericArgument, PathArguments, Type};

const ELEMS: [(&str, &str); 11] = [
    ("f32", "F32"),
    ("bf16", "Bf16"),
    ("f16", "F16"),
    ("e4m3", "E4m3"),
    ("e5m2", "E5m2"),
    ("e2m1", "E2m1"),
    ("e8m0", "E8m0"),
    ("i8", "I8"),
    ("u8", "U8"),
    ("i32", "I32"),
    ("bool", "Bool"),
];

/// What is wrong and the fix.
pub type Wrong = (String, String);

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(p) if p.qself.is_none() => p.path.segments.last(),
        Type::Group(g) => last_segment(&g.elem),
        Type::Paren(g) => last_segment(&g.elem),
        _ => None,
    }
}

/// The last name of a path without generic arguments.
pub fn last_name(ty: &Type) -> Option<String> {
    last_segment(ty).filter(|s| s.arguments.is_none()).map(|s| s.ident.to_string())
}

/// The `DType` variant of a type name.
pub fn elem_variant(name: &str) -> Option<&'static str> {
    ELEMS.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

fn elem(ty: &Type, generics: &[GenericParam]) -> Result<Elem, Wrong> {
    let name = last_name(ty).unwrap_or_default();
    if let Some(g) = generics.iter().find(|g| g.is_type && g.name == name) {
        return Ok(Elem::Param(g.name.clone()));
    }
    elem_variant(&name).map(Elem::Named).ok_or_else(|| {
        ("an element type is needed here".into(), "element types are f32, bf16, f16, e4m3, e5m2, e2m1, e8m0, i8, i32, u8, bool and the function's own type parameters".into())
    })
}

fn arguments(segment: &syn::PathSegment) -> Vec<&GenericArgument> {
    match &segment.arguments {
        PathArguments::AngleBracketed(a) => a.args.iter().collect(),
        _ => Vec::new(),
    }
}

/// A number in a generic argument: a literal, a block, or a name that `syn` takes for a type.
fn number(arg: &GenericArgument) -> Option<syn::Expr> {
    match arg {
        GenericArgument::Const(e) => Some(e.clone()),
        GenericArgument::Type(Type::Path(p)) => {
            Some(syn::Expr::Path(syn::ExprPath { attrs: Vec::new(), qself: p.qself.clone(), path: p.path.clone() }))
        }
        _ => None,
    }
}

/// Whether a type's last name is `Tile` or `Smem`.
pub fn is_tile(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|s| s.ident == "Tile" || s.ident == "Smem")
}

/// `Tile<T, A>`, `Tile<T, A, B>`, `Smem<T, A, B>`.
pub fn tile(segment: &syn::PathSegment, generics: &[GenericParam]) -> Result<TileType, Wrong> {
    let smem = segment.ident == "Smem";
    let args = arguments(segment);
    let form = || {
        let form = if smem { "`Smem<T, A, B>`" } else { "`Tile<T, A>` or `Tile<T, A, B>`" };
        ("this tile type is not complete".to_owned(), format!("write {form}"))
    };
    let (Some(GenericArgument::Type(first)), true) =
        (args.first(), if smem { args.len() == 3 } else { matches!(args.len(), 2 | 3) })
    else {
        return Err(form());
    };
    let elem = match first {
        Type::Infer(_) => None,
        ty => Some(elem(ty, generics)?),
    };
    let dims = args[1..].iter().map(|a| number(a)).collect::<Option<Vec<_>>>().ok_or_else(form)?;
    Ok(TileType { smem, elem, dims })
}

/// A tile type, if the type is one.
pub fn tile_of(ty: &Type, generics: &[GenericParam]) -> Option<Result<TileType, Wrong>> {
    let segment = last_segment(ty)?;
    (segment.ident == "Tile" || segment.ident == "Smem").then(|| tile(segment, generics))
}

/// Generic arguments of an op or a tile function.
pub fn generic_args(
    args: &syn::AngleBracketedGenericArguments,
    generics: &[GenericParam],
) -> Result<Vec<Generic>, Wrong> {
    args.args
        .iter()
        .filter(|a| !matches!(a, GenericArgument::Lifetime(_)))
        .map(|arg| {
            if let GenericArgument::Type(ty) = arg {
                if let Some(tile) = tile_of(ty, generics) {
                    return tile.map(Generic::Tile);
                }
                if let Ok(e) = elem(ty, generics) {
                    return Ok(Generic::Elem(e));
                }
            }
            number(arg).map(Generic::Int).ok_or_else(|| {
                ("this generic argument is no number, element type or tile type".into(), "write it out".into())
            })
        })
        .collect()
}

/// Type of a parameter.
pub fn param(ty: &Type, kind: FunctionKind, generics: &[GenericParam]) -> Result<ParamKind, Wrong> {
    let func = kind == FunctionKind::Func;
    match ty {
        Type::Reference(r) => {
            let segment = last_segment(&r.elem);
            let access = match segment.map(|s| s.ident.to_string()).as_deref() {
                Some("Global") if r.mutability.is_some() => "Write",
                Some("Global") => "Read",
                Some("Weight") if r.mutability.is_none() => "Weight",
                Some("Weight") => return Err(("a weight is constant".into(), "write `&Weight<…>`".into())),
                _ if func && matches!(&*r.elem, Type::Array(_) | Type::Slice(_)) => {
                    return Ok(ParamKind::List(match &*r.elem {
                        Type::Array(a) => literal(&a.len),
                        _ => None,
                    }));
                }
                _ if func && is_tile(&r.elem) => {
                    return Err(("tiles are passed by value".into(), "remove the `&`; return the changed tile".into()));
                }
                _ => return Err(unsupported(func)),
            };
            let args = segment.map(arguments).unwrap_or_default();
            let [GenericArgument::Type(first), rank] = &args[..] else {
                return Err((
                    "this array type is not complete".into(),
                    "write the element type and the number of axes: `Global<f32, 2>`".into(),
                ));
            };
            let rank = number(rank).ok_or_else(|| unsupported(func))?;
            Ok(ParamKind::Array(elem(first, generics)?, Box::new(rank), access))
        }
        Type::Array(a) if func => Ok(ParamKind::List(literal(&a.len))),
        _ => match last_segment(ty).map(|s| s.ident.to_string()).as_deref() {
            Some("f32") => Ok(ParamKind::Scalar("F32")),
            Some("i32") => Ok(ParamKind::Scalar("I32")),
            Some("bool") => Ok(ParamKind::Scalar("Bool")),
            Some("Tile" | "Smem") if func => Ok(ParamKind::Tile),
            Some("usize") if func => Ok(ParamKind::Host),
            Some("usize") => Err((
                "a kernel has no `usize` parameters".into(),
                "make it a const parameter, or an `i32` known at launch".into(),
            )),
            Some("Global" | "Weight") => Err((
                "arrays are passed by reference".into(),
                "write `&Global<…>`, `&mut Global<…>` or `&Weight<…>`".into(),
            )),
            Some(name) if generics.iter().any(|g| g.is_type && g.name == name) && func => Ok(ParamKind::Tile),
            _ => Err(unsupported(func)),
        },
    }
}

fn unsupported(func: bool) -> Wrong {
    let fix = if func {
        "a tile function takes `&Global`, `&mut Global`, `&Weight`, tiles, f32, i32, bool, arrays of them, and `usize` known while staging"
    } else {
        "a kernel takes `&Global`, `&mut Global`, `&Weight`, f32, i32 and bool"
    };
    ("this parameter type has no device form".into(), fix.into())
}

fn literal(len: &syn::Expr) -> Option<syn::LitInt> {
    match len {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(n), .. }) => Some(n.clone()),
        _ => None,
    }
}

/// Type of a tile function's result.
pub fn result(ty: &Type) -> ResultType {
    match ty {
        Type::Tuple(t) if t.elems.is_empty() => ResultType::Unit,
        Type::Tuple(t) => ResultType::Tuple(t.elems.iter().map(result).collect()),
        Type::Paren(p) => result(&p.elem),
        Type::Group(p) => result(&p.elem),
        Type::Array(a) => ResultType::Array(Box::new(result(&a.elem)), literal(&a.len)),
        Type::Path(_) if last_segment(ty).is_some_and(|s| s.ident == "Vec") => {
            let inner = last_segment(ty).map(arguments).unwrap_or_default();
            match inner.first() {
                Some(GenericArgument::Type(t)) => ResultType::Array(Box::new(result(t)), None),
                _ => ResultType::Value,
            }
        }
        _ => ResultType::Value,
    }
}

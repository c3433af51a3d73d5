//! The macros' own tree of a kernel or tile function. Names are resolved: every binding is a [`VarId`].

use crate::parse::Arity;
use proc_macro2::{Ident, Span, TokenStream};

/// A binding of the body, an index into [`Function::vars`].
pub type VarId = usize;

/// What is known of a binding.
pub struct Var {
    /// Its name, with the hygiene of its binding.
    pub name: Ident,
    /// Whether it holds device values.
    pub device: bool,
    /// Whether it is assigned after its `let`, so that it must be a value from the start.
    pub assigned: bool,
}

/// Kernel or tile function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// Launched.
    Kernel,
    /// Called by kernels and other tile functions.
    Func,
}

/// A function with its body.
pub struct Function {
    /// Kernel or tile function.
    pub kind: FunctionKind,
    /// Generic parameters but lifetimes.
    pub generics: Vec<GenericParam>,
    /// Parameters.
    pub params: Vec<Param>,
    /// Result of a tile function.
    pub result: ResultType,
    /// The body.
    pub body: Block,
    /// All bindings.
    pub vars: Vec<Var>,
}

/// `const N: usize` or `T: Elem`.
pub struct GenericParam {
    /// Its name.
    pub name: Ident,
    /// An element type.
    pub is_type: bool,
}

/// A parameter.
pub struct Param {
    /// Its name.
    pub name: Ident,
    /// What it is.
    pub kind: ParamKind,
}

/// What a parameter is.
pub enum ParamKind {
    /// `&Global`, `&mut Global`, `&Weight`: element type, axes, name of the access.
    Array(Elem, Box<syn::Expr>, &'static str),
    /// `f32`, `i32`, `bool`: name of the element type.
    Scalar(&'static str),
    /// A tile (of a tile function).
    Tile,
    /// `usize` (of a tile function): known while staging.
    Host,
    /// `[tile or scalar; N]` (of a tile function); with a literal length it stays an array, else it is a `Vec`.
    List(Option<syn::LitInt>),
}

/// Type of a tile function's result, as staged.
pub enum ResultType {
    /// `()`.
    Unit,
    /// One value.
    Value,
    /// A tuple.
    Tuple(Vec<ResultType>),
    /// An array; with a literal length it stays one, else it is a `Vec`.
    Array(Box<ResultType>, Option<syn::LitInt>),
}

/// An element type.
#[derive(Clone)]
pub enum Elem {
    /// A variant of `DType`.
    Named(&'static str),
    /// A type parameter.
    Param(Ident),
}

/// `Tile<T, A, B>` or `Smem<T, A, B>`.
#[derive(Clone)]
pub struct TileType {
    /// Shared memory.
    pub smem: bool,
    /// Element type; `None` for `_`.
    pub elem: Option<Elem>,
    /// Extents.
    pub dims: Vec<syn::Expr>,
}

/// A generic argument of an op or tile function.
pub enum Generic {
    /// A tile type.
    Tile(TileType),
    /// An element type.
    Elem(Elem),
    /// A number.
    Int(syn::Expr),
}

/// A block.
pub struct Block {
    /// Statements.
    pub stmts: Vec<Stmt>,
    /// The value.
    pub tail: Option<Box<Expr>>,
}

/// A statement.
pub enum Stmt {
    /// `let`.
    Let(Box<Let>),
    /// An expression whose value is dropped.
    Expr(Box<Expr>),
    /// An item, host code.
    Item(Box<syn::Item>),
    /// What schedules call the op of the statement that follows (`#[op(name)]`); none after it.
    Name(Option<Ident>),
}

/// `let pat: ty = init;`
pub struct Let {
    /// Pattern.
    pub pat: Pat,
    /// Type ascription, kept for host values.
    pub ty: Option<syn::Type>,
    /// Initial value.
    pub init: Option<Expr>,
}

/// A pattern.
pub struct Pat {
    /// As written, without type ascription.
    pub syn: syn::Pat,
    /// Its bindings in order.
    pub vars: Vec<(VarId, Ident)>,
    /// Elements, when it is a tuple.
    pub tuple: Option<Vec<Pat>>,
}

/// An expression.
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The token that diagnostics point at.
    pub span: Span,
}

/// Kinds of expressions.
pub enum ExprKind {
    /// A binding.
    Var(VarId, Ident),
    /// Host code that mentions no binding: literals, paths.
    Leaf(TokenStream),
    /// Host code taken as it is, with the bindings that it mentions.
    Opaque(TokenStream, Vec<(VarId, Span)>, &'static str),
    /// `-x` or `!x`.
    Unary(syn::UnOp, Box<Expr>),
    /// `&x`, `&mut x`, `*x`: the prefix as written.
    Prefix(TokenStream, Box<Expr>),
    /// `a + b`, `a < b`, `a && b`.
    Binary(syn::BinOp, Box<Expr>, Box<Expr>),
    /// `x as T`.
    Cast(Box<Expr>, syn::Type),
    /// A free function of the language.
    Lang(Ident, Option<syn::AngleBracketedGenericArguments>, syn::Path, Vec<Expr>),
    /// `Tile::<…>::name(…)`; the type may be missing.
    Construct(Option<TileType>, Ident, Vec<Expr>),
    /// A call of another path: host function or tile function.
    Call(syn::ExprPath, Vec<Expr>),
    /// A method call.
    Method(Box<Expr>, Ident, Option<syn::AngleBracketedGenericArguments>, Vec<Expr>),
    /// `x.keep(|r, c| condition, other)`.
    Keep { recv: Box<Expr>, params: Vec<Pat>, condition: Box<Expr>, other: Box<Expr> },
    /// `a[i]`.
    Index(Box<Expr>, Box<Expr>),
    /// `a.0` or `config.field`.
    Field(Box<Expr>, syn::Member),
    /// `[a, b]`, `vec![a, b]`.
    Array { items: Vec<Expr>, vec: bool },
    /// `[a; n]`, `vec![a; n]`.
    Repeat { item: Box<Expr>, len: Box<Expr>, vec: bool },
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// `{ … }`.
    Block(Block),
    /// `if`, with the last token of its condition.
    If { condition: Box<Expr>, then: Block, otherwise: Option<Box<Expr>>, last: Span },
    /// `match`, and `if let`: scrutinee and arms.
    Match(Box<Expr>, Vec<Arm>),
    /// `for`, with its label's name and the last token of its range.
    For { label: Option<String>, pat: Pat, iter: Box<Expr>, body: Block, last: Span },
    /// `a..b`.
    Range { from: Option<Box<Expr>>, to: Option<Box<Expr>>, limits: syn::RangeLimits },
    /// `place = x`, `place += x`.
    Assign { place: Box<Expr>, op: Option<syn::BinOp>, value: Box<Expr> },
    /// `Ring::<parts>::new::<slots>()`.
    Ring { parts: Vec<TileType>, slots: Box<syn::Expr>, arity: Arity },
    /// `view.get()`.
    Tiles(Box<Expr>, Arity),
    /// `role(name, warps, registers, || body)`.
    Role { name: Box<Expr>, warps: Box<Expr>, registers: Box<Expr>, body: Block },
    /// `require!(…)`: each clause and its text.
    Require(Vec<(Expr, String)>),
    /// `device_assert!(…)`: condition, message and the values it shows.
    Assert { condition: Box<Expr>, message: String, values: Vec<Expr> },
    /// `dbg_tile!(…)`: label and value.
    Dbg(String, Box<Expr>),
    /// `mark!("…")`.
    Mark(String),
    /// Another macro, host code.
    Macro(syn::Macro, Vec<(VarId, Span)>),
}

/// An arm of a `match`.
pub struct Arm {
    /// Pattern.
    pub pat: Pat,
    /// Guard.
    pub guard: Option<Expr>,
    /// Value.
    pub body: Expr,
}

impl Expr {
    /// The binding that an assignment to this place changes.
    pub fn base(&self) -> Option<VarId> {
        match &self.kind {
            ExprKind::Var(v, _) => Some(*v),
            ExprKind::Index(x, _) | ExprKind::Field(x, _) | ExprKind::Prefix(_, x) => x.base(),
            _ => None,
        }
    }
}

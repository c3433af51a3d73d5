//! Expressions.

use super::{Expand, hidden};
use crate::ast::{Expr, ExprKind, Generic};
use crate::parse::types;
use crate::time::{ENDS, LIST_METHODS, UNIT_METHODS, assigns_receiver};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

impl Expand<'_> {
    /// An expression as staged: device ops become builder calls, host code stays.
    pub fn expr(&self, e: &Expr) -> TokenStream {
        let (cx, rt) = (&self.cx, &self.rt);
        let device = self.times.device(e);
        match &e.kind {
            ExprKind::Var(_, name) if device => quote!(::core::clone::Clone::clone(&#name)),
            ExprKind::Var(_, name) => quote!(#name),
            ExprKind::Leaf(tokens) | ExprKind::Opaque(tokens, ..) => tokens.clone(),
            ExprKind::Macro(mac, _) => quote!(#mac),
            ExprKind::Unary(op, x) if device => {
                let name = Ident::new(if matches!(op, syn::UnOp::Not(_)) { "Not" } else { "Neg" }, Span::mixed_site());
                self.call(e, &[x], |at, x| quote!(#cx.unary(#at, #rt::UnaryOp::#name, #(#x),*)))
            }
            ExprKind::Unary(op, x) => {
                let x = self.expr(x);
                quote!((#op #x))
            }
            ExprKind::Prefix(_, x) if device => self.expr(x),
            ExprKind::Prefix(prefix, x) => {
                let x = self.expr(x);
                quote!((#prefix #x))
            }
            ExprKind::Binary(op, a, b) if device => self.binary(e, op, a, b),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(a), self.expr(b));
                quote!((#a #op #b))
            }
            ExprKind::Cast(x, ty) if device => {
                let variant = types::last_name(ty).and_then(|n| types::elem_variant(&n)).unwrap_or("F32");
                let variant = Ident::new(variant, Span::mixed_site());
                self.call(e, &[x], |at, x| quote!(#cx.cast(#at, #(#x),*, #rt::DType::#variant)))
            }
            ExprKind::Cast(x, ty) => {
                let x = self.expr(x);
                quote!((#x as #ty))
            }
            ExprKind::Lang(name, _, path, args) => self.lang(e, device, name, path, args),
            ExprKind::Construct(ty, name, args) => {
                let Some(ty) = ty else { return quote!() };
                let (ty, text) = (self.tile_type(ty), name.to_string());
                let args: Vec<&Expr> = args.iter().collect();
                self.call(e, &args, |at, x| quote!(#cx.constructor(#at, &#ty, #text, ::std::vec![#(#x),*])))
            }
            ExprKind::Call(path, args) if device => self.tile_func(e, path, args),
            ExprKind::Call(path, args) => {
                let args = args.iter().map(|a| self.expr(a));
                quote!(#path(#(#args),*))
            }
            ExprKind::Method(recv, name, turbofish, args) => {
                self.method(e, device, recv, name, turbofish.as_ref(), args)
            }
            ExprKind::Keep { recv, params, condition, other } => {
                let (at, recv, other, condition) = (self.at(e), self.lift(recv), self.arg(other), self.lift(condition));
                let (x, o, index) = (hidden("x"), hidden("o"), hidden("index"));
                let bind = params.iter().enumerate().filter(|(_, p)| !p.vars.is_empty()).map(|(i, p)| {
                    let pat = &p.syn;
                    quote!(let #pat = #cx.axis(#at, #index, #i);)
                });
                quote!({
                    let #x = #recv;
                    let #o = #other;
                    #cx.keep(#at, #x, #o, |#cx, #index| { #(#bind)* #condition })
                })
            }
            ExprKind::Index(list, index) => {
                let (list, index) = (self.place(list), self.expr(index));
                if device { quote!(::core::clone::Clone::clone(&#list[#index])) } else { quote!(#list[#index]) }
            }
            ExprKind::Field(x, member) => {
                let x = self.place(x);
                if device { quote!(::core::clone::Clone::clone(&#x.#member)) } else { quote!(#x.#member) }
            }
            ExprKind::Array { items, vec } => {
                let items = items.iter().map(|x| if device { self.lift(x) } else { self.expr(x) });
                if *vec { quote!(::std::vec![#(#items),*]) } else { quote!([#(#items),*]) }
            }
            ExprKind::Repeat { item, len, vec } => {
                let literal = matches!(&len.kind, ExprKind::Leaf(t) if syn::parse2::<syn::LitInt>(t.clone()).is_ok());
                let item = if device { self.lift(item) } else { self.expr(item) };
                let (len, x) = (self.expr(len), hidden("x"));
                let list = if literal && !vec { quote!([#x; #len]) } else { quote!(::std::vec![#x; #len]) };
                quote!({ let #x = #item; #list })
            }
            ExprKind::Tuple(items) => {
                let items = items.iter().map(|x| self.expr(x));
                quote!((#(#items,)*))
            }
            ExprKind::Block(b) => self.block(b, false),
            ExprKind::If { .. } | ExprKind::Match(..) => self.choice(e, device),
            ExprKind::For { label, pat, iter, body, .. } => self.for_loop(e, label.as_deref(), pat, iter, body),
            ExprKind::Range { from, to, limits } => {
                let from = from.as_ref().map(|x| self.expr(x));
                let to = to.as_ref().map(|x| self.expr(x));
                quote!((#from #limits #to))
            }
            ExprKind::Ring { parts, slots, .. } => {
                let (at, parts) = (self.at(e), parts.iter().map(|p| self.tile_type(p)));
                quote!(#cx.ring(#at, &[#(#parts),*], #slots))
            }
            ExprKind::Tiles(view, arity) => {
                let (at, view, x) = (self.at(e), self.expr(view), hidden("x"));
                let tiles = match arity {
                    Some(n) => {
                        let index = 0..*n;
                        quote!((#(#x[#index],)*))
                    }
                    None => quote!(#x[0]),
                };
                let n = arity.unwrap_or(1);
                quote!({ let #x = #view; let #x = #cx.tiles::<#n>(#at, #x); #tiles })
            }
            ExprKind::Role { name, warps, registers, body } => {
                let at = self.at(e);
                let [name, warps, registers] = [name, warps, registers].map(|x| self.expr(x));
                let body = self.block(body, false);
                quote!(#cx.role(#at, #name, (#warps, #registers), |#cx| { #body; }))
            }
            ExprKind::Assign { place, op, value } => self.assign(e, place, op.as_ref(), value),
            ExprKind::Assert { condition, message, values } => {
                let (at, names): (_, Vec<Ident>) =
                    (self.at(e), (0..values.len()).map(|i| hidden(&format!("x{i}"))).collect());
                let (c, condition) = (hidden("holds"), self.lift(condition));
                let values = values.iter().map(|x| self.lift(x));
                quote!({
                    let #c = #condition;
                    #(let #names = #values;)*
                    #cx.device_assert(#at, #c, #message, &[#(#names),*]);
                })
            }
            ExprKind::Dbg(label, x) => {
                let (at, x, name) = (self.at(e), self.lift(x), hidden("x"));
                quote!({ let #name = #x; #cx.dbg_tile(#at, #label, #name); })
            }
            ExprKind::Mark(name) => {
                let at = self.at(e);
                quote!(#cx.mark(#at, #name))
            }
            ExprKind::Require(clauses) => {
                let clauses = clauses.iter().map(|(c, text)| {
                    let (at, holds) = (self.at(c), hidden("holds"));
                    if self.times.device(c) {
                        let c = self.lift(c);
                        quote!(let #holds = #c; #cx.require(#at, #holds, #text);)
                    } else {
                        let c = self.expr(c);
                        quote!(let #holds: bool = #c; #cx.require_host(#at, #holds, #text);)
                    }
                });
                quote!({ #(#clauses)* })
            }
        }
    }

    /// Evaluates operands in order, then calls.
    fn call(&self, e: &Expr, operands: &[&Expr], f: impl FnOnce(TokenStream, &[Ident]) -> TokenStream) -> TokenStream {
        let names: Vec<Ident> = (0..operands.len()).map(|i| hidden(&format!("x{i}"))).collect();
        let values = operands.iter().map(|x| self.arg(x));
        let call = f(self.at(e), &names);
        quote!({ #(let #names = #values;)* #call })
    }

    /// An operand as the builder takes it.
    pub fn arg(&self, e: &Expr) -> TokenStream {
        let rt = &self.rt;
        match &e.kind {
            ExprKind::Array { items, .. } => {
                let names: Vec<Ident> = (0..items.len()).map(|i| hidden(&format!("i{i}"))).collect();
                let items = items.iter().map(|x| self.arg(x));
                quote!({ #(let #names = #items;)* #rt::Arg::List(::std::vec![#(#names),*]) })
            }
            _ => {
                let e = self.expr(e);
                quote!(#rt::Arg::from(#e))
            }
        }
    }

    /// A value of the kernel, or a list of such.
    pub fn lift(&self, e: &Expr) -> TokenStream {
        let (cx, rt, at, x) = (&self.cx, &self.rt, self.at(e), hidden("x"));
        let literal = matches!(e.kind, ExprKind::Leaf(ref t) if syn::parse2::<syn::Lit>(t.clone()).is_ok());
        let value = self.expr(e);
        if literal { quote!(#cx.lift(#at, #value)) } else { quote!({ let #x = #value; #rt::lift(#cx, #at, #x) }) }
    }

    /// An expression that may be indexed, assigned or borrowed.
    fn place(&self, e: &Expr) -> TokenStream {
        match &e.kind {
            ExprKind::Var(_, name) => quote!(#name),
            ExprKind::Index(list, index) => {
                let (list, index) = (self.place(list), self.expr(index));
                quote!(#list[#index])
            }
            ExprKind::Field(x, member) => {
                let x = self.place(x);
                quote!(#x.#member)
            }
            ExprKind::Leaf(t) => quote!((#t)),
            _ => self.expr(e),
        }
    }

    fn binary(&self, e: &Expr, op: &syn::BinOp, a: &Expr, b: &Expr) -> TokenStream {
        use syn::BinOp as B;
        let (cx, rt) = (&self.cx, &self.rt);
        if matches!(op, B::And(_) | B::Or(_)) && self.times.device(a) && self.times.reads_memory(b) {
            return self.short_circuit(e, matches!(op, B::And(_)), a, b);
        }
        let (method, family, name) = match op {
            B::Add(_) => ("binary", "BinaryOp", "Add"),
            B::Sub(_) => ("binary", "BinaryOp", "Sub"),
            B::Mul(_) => ("binary", "BinaryOp", "Mul"),
            B::Div(_) => ("binary", "BinaryOp", "Div"),
            B::Rem(_) => ("binary", "BinaryOp", "Rem"),
            B::And(_) | B::BitAnd(_) => ("binary", "BinaryOp", "And"),
            B::Or(_) | B::BitOr(_) => ("binary", "BinaryOp", "Or"),
            B::BitXor(_) => ("binary", "BinaryOp", "Xor"),
            B::Shl(_) => ("binary", "BinaryOp", "Shl"),
            B::Shr(_) => ("binary", "BinaryOp", "Shr"),
            B::Lt(_) => ("compare", "CmpOp", "Lt"),
            B::Le(_) => ("compare", "CmpOp", "Le"),
            B::Gt(_) => ("compare", "CmpOp", "Gt"),
            B::Ge(_) => ("compare", "CmpOp", "Ge"),
            B::Ne(_) => ("compare", "CmpOp", "Ne"),
            _ => ("compare", "CmpOp", "Eq"),
        };
        let [method, family, name] = [method, family, name].map(|n| Ident::new(n, Span::mixed_site()));
        self.call(e, &[a, b], |at, x| quote!(#cx.#method(#at, #rt::#family::#name, #(#x),*)))
    }

    /// `a && b` where `b` may only be evaluated if `a` holds.
    fn short_circuit(&self, e: &Expr, and: bool, a: &Expr, b: &Expr) -> TokenStream {
        let (cx, at, test) = (&self.cx, self.at(e), hidden("test"));
        let (a, b) = (self.lift(a), self.lift(b));
        quote!({ let #test = #a; #cx.short_circuit(#at, #and, #test, |#cx| #b) })
    }

    fn lang(&self, e: &Expr, device: bool, name: &Ident, path: &syn::Path, args: &[Expr]) -> TokenStream {
        let cx = &self.cx;
        if !device {
            let args = args.iter().map(|a| self.expr(a));
            return quote!(#path(#(#args),*));
        }
        let operands: Vec<&Expr> = args.iter().collect();
        if name == "work" {
            let axes = match args.first().map(|a| &a.kind) {
                Some(ExprKind::Array { items, .. }) => {
                    let n = items.len();
                    quote!({ #n })
                }
                _ => quote!(_),
            };
            return self.call(e, &operands, |at, x| quote!(#cx.work_axes::<#axes>(#at, #(#x),*)));
        }
        let text = name.to_string();
        self.call(e, &operands, |at, x| quote!(#cx.func(#at, #text, &[], ::std::vec![#(#x),*])))
    }

    fn tile_func(&self, e: &Expr, path: &syn::ExprPath, args: &[Expr]) -> TokenStream {
        let cx = &self.cx;
        let mut module = path.path.clone();
        let mut generics: Vec<Generic> = Vec::new();
        if let Some(last) = module.segments.last_mut() {
            if let syn::PathArguments::AngleBracketed(list) = &last.arguments {
                generics = types::generic_args(list, self.times.generics).unwrap_or_default();
            }
            last.arguments = syn::PathArguments::None;
        }
        let count = generics.len();
        let generics = generics.iter().map(|g| self.generic(g));
        let operands: Vec<&Expr> = args.iter().collect();
        let span = path.path.segments.last().map_or(e.span, |s| s.ident.span());
        let here = span.resolved_at(Span::mixed_site());
        let (rt_here, list) = (Ident::new("__rt", here), hidden("generics"));
        let written = quote_spanned!(here=> #rt_here::written::<{ #module::GENERICS }, #count>([#(#generics),*]));
        self.call(e, &operands, |at, x| {
            quote!(
                let #list = #written;
                #module::stage(#cx, #at, &#list, ::std::vec![#(#x),*])
            )
        })
    }

    fn method(
        &self,
        e: &Expr,
        device: bool,
        recv: &Expr,
        name: &Ident,
        turbofish: Option<&syn::AngleBracketedGenericArguments>,
        args: &[Expr],
    ) -> TokenStream {
        let cx = &self.cx;
        let is_list = LIST_METHODS.iter().any(|m| name == m);
        if !device || is_list || (name == "push" && !self.times.device(recv)) {
            let recv = self.place(recv);
            let values = args.iter().map(|a| self.expr(a));
            return if is_list && !args.is_empty() {
                let names: Vec<Ident> = (0..args.len()).map(|i| hidden(&format!("x{i}"))).collect();
                quote!({ #(let #names = #values;)* #recv.#name #turbofish(#(#names),*) })
            } else {
                quote!(#recv.#name #turbofish(#(#values),*))
            };
        }
        let text = name.to_string();
        let generics =
            turbofish.map(|t| types::generic_args(t, self.times.generics).unwrap_or_default()).unwrap_or_default();
        let generics = generics.iter().map(|g| self.generic(g));
        let mut operands = vec![recv];
        operands.extend(args);
        let call = self.call(e, &operands, |at, x| {
            let (recv, args) = (&x[0], &x[1..]);
            quote!(#cx.method(#at, #recv, #text, &[#(#generics),*], ::std::vec![#(#args),*]))
        });
        if assigns_receiver(name) {
            let place = self.place(recv);
            let label = self.label_place(recv);
            let next = hidden("next");
            return quote!({ let #next = #call; #place = #next; #label });
        }
        if UNIT_METHODS.iter().chain(&ENDS).any(|m| name == m) { quote!({ let _ = #call; }) } else { call }
    }

    fn assign(&self, e: &Expr, place: &Expr, op: Option<&syn::BinOp>, value: &Expr) -> TokenStream {
        let target = self.place(place);
        if !place.base().is_some_and(|v| self.times.vars[v].device) {
            let value = self.expr(value);
            return match op {
                Some(op) => quote!(#target = #target #op #value),
                None => quote!(#target = #value),
            };
        }
        let next = hidden("next");
        let new = match op {
            Some(op) => self.binary(e, op, place, value),
            None => self.value(value, true),
        };
        let label = self.label_place(place);
        quote!({ let #next = #new; #target = #next; #label })
    }

    fn label_place(&self, place: &Expr) -> TokenStream {
        match &place.kind {
            ExprKind::Var(_, name) => self.label(name),
            _ => quote!(),
        }
    }
}

//! Expressions as text: literals, and what needs parentheses.

use tile_lang::ir::{Literal, ValueId};

/// An expression whose place in the text is not settled yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub value: ValueId,
    pub text: Text,
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Text {
    /// A literal: it becomes a constant where it is used.
    Literal(Literal),
    /// A tile full of one number, `inner`, which may stand for it beside a tile; the other text is the tile.
    Full { inner: Box<Text>, tile: String },
    /// Needs no parentheses.
    Atom(String),
    /// Needs them.
    Loose(String),
}

impl Text {
    /// As an argument.
    pub fn plain(&self) -> String {
        match self {
            Text::Literal(l) => literal(*l),
            Text::Full { tile, .. } => tile.clone(),
            Text::Atom(s) | Text::Loose(s) => s.clone(),
        }
    }

    /// As an operand or a receiver.
    pub fn tight(&self) -> String {
        match self {
            Text::Literal(l) => {
                let text = typed_literal(*l);
                if text.starts_with(['-', '{']) { format!("({text})") } else { text }
            }
            Text::Loose(s) => format!("({s})"),
            other => other.plain(),
        }
    }

    /// As a bound of a range: a looser expression is read to its end.
    pub fn tight_bound(&self) -> String {
        match self {
            Text::Literal(l) => literal(*l),
            other => other.tight(),
        }
    }
}

/// A literal whose type the place says.
fn literal(l: Literal) -> String {
    match l {
        Literal::F32(x) if x.is_finite() => {
            let text = format!("{x:?}");
            // The builder reads it as f64 first.
            let same = text.parse::<f64>().is_ok_and(|y| (y as f32).to_bits() == x.to_bits());
            if same { text } else { format!("{text}f32") }
        }
        Literal::I32(i) => i.to_string(),
        other => typed_literal(other),
    }
}

/// A literal of that very type.
pub(super) fn typed_literal(l: Literal) -> String {
    match l {
        Literal::I32(i) => format!("{i}i32"),
        Literal::Bool(b) => format!("{b}"),
        Literal::F32(x) if x == f32::INFINITY => "f32::INFINITY".into(),
        Literal::F32(x) if x == f32::NEG_INFINITY => "f32::NEG_INFINITY".into(),
        Literal::F32(x) if x.is_nan() => format!("{{ const NAN: f32 = f32::from_bits({:#010x}); NAN }}", x.to_bits()),
        Literal::F32(x) => format!("{x:?}f32"),
    }
}

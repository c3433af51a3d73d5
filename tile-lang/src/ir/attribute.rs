//! Attributes of ops in the text form, by their Rust types.

use super::{AtomicOp, ReduceOp, RingPart};
use crate::dtype::DType;
use std::fmt;

/// An attribute in brackets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attr {
    Number(usize),
    Word(String),
    Text(String),
    Part(RingPart),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Number(n) => write!(f, "{n}"),
            Attr::Word(word) => f.write_str(word),
            Attr::Text(text) => write!(f, "{text:?}"),
            Attr::Part(p) => {
                let shape: Vec<String> = p.shape.iter().map(usize::to_string).collect();
                let dtype: DType = p.dtype;
                write!(f, "{dtype} {} of {} at {}", shape.join("x"), p.rank, p.offset)
            }
        }
    }
}

/// A Rust type that attributes have.
pub(super) trait Attribute: Sized {
    /// Appends the text form's attributes.
    fn write(&self, out: &mut Vec<Attr>);

    /// Takes a value off the front.
    ///
    /// # Errors
    /// What is wrong, where there is more to say than that the attributes don't fit.
    fn read(from: &mut &[Attr]) -> Result<Self, Option<String>>;
}

/// The next attribute, where `get` likes it.
fn next<T>(from: &mut &[Attr], get: impl Fn(&Attr) -> Option<T>) -> Result<T, Option<String>> {
    let (first, rest) = from.split_first().ok_or(None)?;
    let value = get(first).ok_or(None)?;
    *from = rest;
    Ok(value)
}

impl Attribute for usize {
    fn write(&self, out: &mut Vec<Attr>) {
        out.push(Attr::Number(*self));
    }

    fn read(from: &mut &[Attr]) -> Result<usize, Option<String>> {
        next(from, |a| if let Attr::Number(n) = a { Some(*n) } else { None })
    }
}

impl Attribute for String {
    fn write(&self, out: &mut Vec<Attr>) {
        out.push(Attr::Text(self.clone()));
    }

    fn read(from: &mut &[Attr]) -> Result<String, Option<String>> {
        next(from, |a| if let Attr::Text(text) = a { Some(text.clone()) } else { None })
    }
}

impl Attribute for RingPart {
    fn write(&self, out: &mut Vec<Attr>) {
        out.push(Attr::Part(self.clone()));
    }

    fn read(from: &mut &[Attr]) -> Result<RingPart, Option<String>> {
        let part = next(from, |a| if let Attr::Part(p) = a { Some(p.clone()) } else { None });
        part.map_err(|_| Some("parts of a slot are needed here: `bf16 16x64 of 2 at 0`".into()))
    }
}

impl Attribute for ReduceOp {
    fn write(&self, out: &mut Vec<Attr>) {
        out.push(Attr::Word(self.name().into()));
    }

    fn read(from: &mut &[Attr]) -> Result<ReduceOp, Option<String>> {
        let word = next(from, |a| if let Attr::Word(word) = a { Some(word.clone()) } else { None })?;
        ReduceOp::from_name(&word).ok_or_else(|| Some(format!("`{word}` is no reduction")))
    }
}

impl Attribute for AtomicOp {
    fn write(&self, out: &mut Vec<Attr>) {
        out.push(Attr::Word(self.name().into()));
    }

    fn read(from: &mut &[Attr]) -> Result<AtomicOp, Option<String>> {
        let word = next(from, |a| if let Attr::Word(word) = a { Some(word.clone()) } else { None })?;
        AtomicOp::from_name(&word).ok_or_else(|| Some(format!("`{word}` is no atomic op")))
    }
}

/// One or more.
impl<T: Attribute> Attribute for Vec<T> {
    fn write(&self, out: &mut Vec<Attr>) {
        self.iter().for_each(|x| x.write(out));
    }

    fn read(from: &mut &[Attr]) -> Result<Vec<T>, Option<String>> {
        let mut list = vec![T::read(from)?];
        while !from.is_empty() {
            list.push(T::read(from)?);
        }
        Ok(list)
    }
}

//! What an atomic op orders, and among whom.

use super::attribute::{Attr, Attribute};
use serde::{Deserialize, Serialize};

/// Which of a work item's other accesses an atomic op orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// None.
    #[default]
    Relaxed,
    /// What follows it comes after it.
    Acquire,
    /// What stands before it comes before it.
    Release,
    /// Both.
    AcqRel,
}

/// Who sees an atomic op undivided and in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The threads of one CTA, which take a work item together.
    Cta,
    /// All work items of the GPU.
    #[default]
    Gpu,
    /// The host and other GPUs as well.
    System,
}

impl Order {
    /// Every order.
    pub const ALL: [Order; 4] = [Order::Relaxed, Order::Acquire, Order::Release, Order::AcqRel];

    /// Spelling in the text form and in PTX.
    pub const fn name(self) -> &'static str {
        match self {
            Order::Relaxed => "relaxed",
            Order::Acquire => "acquire",
            Order::Release => "release",
            Order::AcqRel => "acq_rel",
        }
    }

    /// Name of the variant, as source spells it.
    pub const fn variant(self) -> &'static str {
        match self {
            Order::Relaxed => "Relaxed",
            Order::Acquire => "Acquire",
            Order::Release => "Release",
            Order::AcqRel => "AcqRel",
        }
    }

    /// Whether accesses before it are ordered.
    pub const fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel)
    }

    /// Whether accesses after it are ordered.
    pub const fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel)
    }
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::Cta, Scope::Gpu, Scope::System];

    /// Spelling in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Cta => "cta",
            Scope::Gpu => "gpu",
            Scope::System => "system",
        }
    }

    /// Name of the variant, as source spells it.
    pub const fn variant(self) -> &'static str {
        match self {
            Scope::Cta => "Cta",
            Scope::Gpu => "Gpu",
            Scope::System => "System",
        }
    }

    /// PTX's qualifier.
    pub const fn ptx(self) -> &'static str {
        match self {
            Scope::Cta => "cta",
            Scope::Gpu => "gpu",
            Scope::System => "sys",
        }
    }
}

/// Order and scope of an atomic op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sync {
    /// Order.
    pub order: Order,
    /// Scope.
    pub scope: Scope,
}

/// Written only where it differs from relaxed in the whole GPU.
impl Attribute for Sync {
    fn write(&self, out: &mut Vec<Attr>) {
        if *self != Sync::default() {
            out.extend([self.order.name(), self.scope.name()].map(|word| Attr::Word(word.into())));
        }
    }

    fn read(from: &mut &[Attr]) -> Result<Sync, Option<String>> {
        let (order, scope) = match from {
            [] => return Ok(Sync::default()),
            [Attr::Word(order), Attr::Word(scope)] => (order, scope),
            _ => return Err(None),
        };
        let found =
            (Order::ALL.into_iter().find(|o| o.name() == order), Scope::ALL.into_iter().find(|s| s.name() == scope));
        let (Some(order), Some(scope)) = found else {
            let names = |list: &[&str]| list.join(", ");
            return Err(Some(format!(
                "`{order}, {scope}` is no order ({}) and scope ({})",
                names(&Order::ALL.map(Order::name)),
                names(&Scope::ALL.map(Scope::name))
            )));
        };
        *from = &[];
        Ok(Sync { order, scope })
    }
}

//! Channels: who listens now, hears. Each subscription has an inbox, a ring of messages in shared memory; publishers copy
//! into the ring of everybody who is subscribed, and nothing is kept.
//!
//! A ring's words and its lock lie in a page of the state file (`layout::ObjectPage`, kind RING), which is the registry's
//! entry too; its bytes in `run/ring/<page>-<incarnation>`. See docs/decisions/0401-inbox-rings.md.

pub mod pattern;
mod place;
mod publish;
mod registry;
mod ring;
mod subscription;
#[cfg(test)]
mod tests;

pub use publish::{Channel, Pending, Sent};
pub use subscription::{Heard, Subscription};

/// What happens to a message for which a subscription has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest that waits goes.
    DropOldest,
    /// It is dropped itself.
    DropNewest,
    /// Its publisher waits, at most its time-out.
    Block,
    /// It and all later ones are dropped until the subscriber has taken what waits and was told.
    Error,
}

impl Overflow {
    fn of(number: u64) -> Option<Self> {
        [Self::DropOldest, Self::DropNewest, Self::Block, Self::Error]
            .into_iter()
            .find(|each| *each as u64 == number)
    }
}

/// What is published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication<'a> {
    pub value: &'a [u8],
    pub key: Option<&'a [u8]>,
    /// Encoded by the caller; its bytes travel as they are.
    pub headers: Option<&'a [u8]>,
    /// ns since 1970 UTC; None: now.
    pub time_ns: Option<i64>,
}

/// Tells one message from all others: who published it, and the how manyth it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub publisher: u64,
    pub number: u64,
}

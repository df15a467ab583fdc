//! Where in a ring the next message goes: arithmetic alone, in units of 8 bytes.
//!
//! The messages that wait lie in one piece [head, tail), or in two: [head, mark) and [0, tail), where a mark says "go on at
//! 0". As long as the reader keeps up, everything happens in the first `HOT` units, which stay in the caches; a reader that
//! falls behind lets the ring reach further, up to its limit.

/// While they suffice, no others are touched (256 KiB).
pub(crate) const HOT: u32 = 32 << 10;

/// A place in the ring, and the number (modulo 2^32) of the message there. Stored as one word, so that both change at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub off: u32,
    pub number: u32,
}

impl Mark {
    #[inline]
    pub fn of(word: u64) -> Self {
        Self {
            off: (word >> 32) as u32,
            number: word as u32,
        }
    }

    #[inline]
    pub fn word(self) -> u64 {
        u64::from(self.off) << 32 | u64::from(self.number)
    }

    /// Messages between this one and a later one.
    #[inline]
    pub fn until(self, later: Self) -> u32 {
        later.number.wrapping_sub(self.number)
    }

    #[inline]
    pub fn next(self, off: u32) -> Self {
        Self {
            off,
            number: self.number.wrapping_add(1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(u32),
    /// At 0; nothing waits, and the head has to be moved there first.
    Reset,
    /// At 0; a mark goes to the tail.
    Wrap,
    /// The head is an old one: look at it again.
    Look,
    /// The ring has to reach so far first.
    Grow(u32),
    Full,
}

/// have: units that can be written. limit: those there can ever be. fresh: the head is not known from earlier. Behind every
/// piece there is a unit for the mark.
#[inline]
pub(crate) fn place(
    head: Mark,
    tail: Mark,
    units: u32,
    have: u32,
    limit: u32,
    fresh: bool,
) -> Place {
    let begins = |at: u32| u64::from(at) + u64::from(units) + 1;
    let (have, limit) = (u64::from(have), u64::from(limit));
    let hot = have.min(u64::from(HOT));
    if head.number == tail.number {
        return if !fresh {
            Place::Look
        } else if begins(head.off) <= hot {
            Place::At(head.off)
        } else if begins(0) > limit {
            Place::Full
        } else if begins(0) > have {
            Place::Grow(begins(0) as u32)
        } else if head.off == 0 {
            Place::At(0)
        } else {
            Place::Reset
        };
    }
    if head.off >= tail.off {
        // Two pieces: what is free lies between them.
        return if u64::from(tail.off) + u64::from(units) <= u64::from(head.off) {
            Place::At(tail.off)
        } else if fresh {
            Place::Full
        } else {
            Place::Look
        };
    }
    let end = begins(tail.off);
    if end <= hot {
        Place::At(tail.off)
    } else if units <= head.off {
        Place::Wrap
    } else if !fresh && end <= have && end >> 12 == u64::from(tail.off) >> 12 {
        // A look costs as much as the rest of a message: one each 32 KiB.
        Place::At(tail.off)
    } else if !fresh {
        Place::Look
    } else if end <= have {
        Place::At(tail.off)
    } else if end <= limit {
        Place::Grow(end as u32)
    } else {
        Place::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn a_mark_is_one_word() {
        let mark = Mark {
            off: 0x1234_5678,
            number: u32::MAX,
        };
        assert_eq!(Mark::of(mark.word()), mark);
        assert_eq!(mark.next(5), Mark { off: 5, number: 0 });
        assert_eq!(mark.until(mark.next(0)), 1);
    }

    proptest! {
        /// Puts and takes at random, with a head that is known late: nothing that waits is ever written over, every piece ends
        /// below the limit, and a ring whose reader takes everything always has room.
        #[test]
        fn nothing_that_waits_is_written_over(
            steps in proptest::collection::vec((any::<bool>(), 1u32..3000), 1..400),
            limit in 4000u32..90_000,
        ) {
            let mut head = Mark { off: 0, number: 0 };
            let (mut tail, mut seen) = (head, head);
            let mut have = HOT.min(limit);
            let mut waiting: VecDeque<(u32, u32)> = VecDeque::new();
            let mut marks: Vec<u32> = Vec::new();
            for (put, units) in steps {
                if !put {
                    if let Some((off, units)) = waiting.pop_front() {
                        if head.off != off {
                            prop_assert_eq!(off, 0);
                            prop_assert!(marks.contains(&head.off));
                            marks.retain(|mark| *mark != head.off);
                        }
                        head = head.next(off + units);
                    }
                    continue;
                }
                let mut fresh = false;
                let at = loop {
                    match place(seen, tail, units, have, limit, fresh) {
                        Place::At(off) => break Some(off),
                        Place::Reset => {
                            prop_assert!(waiting.is_empty());
                            head.off = 0;
                            seen = head;
                            break Some(0);
                        }
                        Place::Wrap => {
                            prop_assert!(tail.off < have);
                            prop_assert!(waiting.iter().all(|(off, units)| tail.off < *off || off + units <= tail.off));
                            marks.push(tail.off);
                            break Some(0);
                        }
                        Place::Look => {
                            prop_assert!(!fresh);
                            seen = head;
                            fresh = true;
                        }
                        Place::Grow(end) => {
                            prop_assert!(end > have && end <= limit);
                            have = end;
                        }
                        Place::Full => break None,
                    }
                };
                let Some(at) = at else {
                    prop_assert!(!waiting.is_empty() || units + 1 > limit);
                    continue;
                };
                prop_assert!(at + units < have);
                for (off, len) in &waiting {
                    prop_assert!(at + units <= *off || off + len <= at, "{at}+{units} over {off}+{len}");
                }
                prop_assert!(marks.iter().all(|mark| *mark == tail.off || at + units <= *mark || at > *mark));
                waiting.push_back((at, units));
                tail = tail.next(at + units);
                let (first, _) = waiting[0];
                prop_assert!(head.off == first || first == 0 && marks.contains(&head.off));
            }
        }
    }
}

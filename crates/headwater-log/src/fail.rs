//! Named points of the write path at which a test kills the process (feature `failpoints`; nothing otherwise).

/// Kills this process with SIGKILL at the n-th arrival here, when `HEADWATER_KILL=name:n` says so.
#[cfg(feature = "failpoints")]
pub fn kp(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::OnceLock;
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("HEADWATER_KILL").ok()?;
        let (name, number) = text.rsplit_once(':')?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    if let Some((wanted, number)) = plan {
        if wanted == name && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *number {
            // SAFETY: a signal to ourselves.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn kp(_name: &str) {}

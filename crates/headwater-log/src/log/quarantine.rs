//! What recovery takes away is kept in `quarantine/`, each with a note in JSON; the engine never deletes anything there.

use std::path::{Path, PathBuf};

use super::checksum::crc32c;
use super::segment::Segment;
use super::{now_ns, Log};
use crate::error::Result;

pub const QUARANTINE: &str = "quarantine";

impl Log {
    fn quarantine_dir(&self) -> Result<PathBuf> {
        let dir = self.ctx.root.join(QUARANTINE);
        self.ctx.storage.make_dir(&dir)?;
        Ok(dir)
    }

    fn quarantine_name(&self, base: u64, what: &str) -> String {
        format!("{:016x}-{}-{what}", self.oid, self.kind.file_name(base))
    }

    /// Moves a whole segment away.
    pub(super) fn quarantine_file(&self, base: u64, why: &str) -> Result<()> {
        let path = self.dir.join(self.kind.file_name(base));
        let name = self.quarantine_name(base, &format!("whole-{}", now_ns()));
        let to = self.quarantine_dir()?.join(name);
        self.ctx.storage.rename(&path, &to)?;
        self.ctx.storage.unlink(&path.with_extension("idx"))?;
        self.write_note(&to, base, 0, why)?;
        self.forget_segment(base);
        Ok(())
    }

    /// Copies a range of a segment, up to its last byte that is not zero. The same bytes of the same place are kept once: a
    /// damaged place is met again by each recovery.
    pub(super) fn quarantine_range(
        &self,
        segment: &Segment,
        from: u64,
        to: u64,
        why: &str,
    ) -> Result<()> {
        let mut bytes = vec![0u8; to.saturating_sub(from) as usize];
        segment.map.read(from as usize, &mut bytes);
        let len = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        self.quarantine_bytes(segment.header.base_seq, from, &bytes[..len], why)
    }

    pub(super) fn quarantine_bytes(
        &self,
        base: u64,
        from: u64,
        bytes: &[u8],
        why: &str,
    ) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let print = crc32c(bytes.len() as u32, bytes);
        let name = self.quarantine_name(base, &format!("{from}-{print:08x}"));
        let path = self.quarantine_dir()?.join(name);
        if self.ctx.storage.exists(&path) {
            return Ok(());
        }
        self.write_file(&path, bytes)?;
        self.write_note(&path, base, from, why)
    }

    fn write_note(&self, path: &Path, base: u64, off: u64, why: &str) -> Result<()> {
        let note = serde_json::json!({
            "object": self.what, "directory": self.dir, "segment": self.kind.file_name(base), "offset": off, "why": why,
            "time_ns": now_ns(),
        });
        let mut name = path.as_os_str().to_owned();
        name.push(".json");
        self.write_file(Path::new(&name), note.to_string().as_bytes())
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        // Left over from a recovery that was cut short.
        self.ctx.storage.unlink(path)?;
        let file = self.ctx.storage.create(path, bytes.len() as u64)?;
        let map = self.ctx.storage.map(&file, path, bytes.len(), true)?;
        map.write(0, bytes);
        self.ctx.storage.sync(&file, path)
    }
}

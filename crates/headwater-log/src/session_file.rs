//! The file `session`: the number of the session, whether it ended cleanly, the last that did not. Two sectors, written by turns.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::identity;

/// The content of the file `session`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub version: u64,
    pub session: u64,
    /// The last session that did not end cleanly; 0: none.
    pub last_unclean: u64,
    /// The last one after which the page cache may have been lost before everything was synced: an unclean one before
    /// another boot, or in a copied directory. 0: none.
    pub last_lossy: u64,
    pub clean: bool,
    pub device: u64,
    pub inode: u64,
    pub boot: [u64; 2],
}

const SECTOR: usize = 512;
const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"HWSESS\x01\n");

impl Record {
    fn encode(&self) -> [u8; SECTOR] {
        let mut sector = [0u8; SECTOR];
        let words = [
            RECORD_MAGIC,
            self.version,
            self.session,
            self.last_unclean,
            u64::from(self.clean),
            self.device,
            self.inode,
            self.last_lossy,
            self.boot[0],
            self.boot[1],
        ];
        for (at, word) in words.iter().enumerate() {
            sector[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = identity::crc32c(&sector[..SECTOR - 4]);
        sector[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    fn decode(sector: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            sector[at * 8..at * 8 + 8]
                .try_into()
                .map(u64::from_le_bytes)
                .ok()
        };
        let crc = sector[SECTOR - 4..]
            .try_into()
            .map(u32::from_le_bytes)
            .ok()?;
        if word(0)? != RECORD_MAGIC || crc != identity::crc32c(&sector[..SECTOR - 4]) {
            return None;
        }
        Some(Self {
            version: word(1)?,
            session: word(2)?,
            last_unclean: word(3)?,
            clean: word(4)? == 1,
            device: word(5)?,
            inode: word(6)?,
            last_lossy: word(7)?,
            boot: [word(8)?, word(9)?],
        })
    }
}

/// The kernel's name for this boot; zero where it does not say.
fn boot_id() -> [u64; 2] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| {
        digits
            .get(range)
            .and_then(|part| u64::from_str_radix(part, 16).ok())
            .unwrap_or(0)
    };
    [half(0..16), half(16..32)]
}

/// Two sectors, written by turns: a torn write leaves the other.
pub(crate) struct SessionFile {
    path: PathBuf,
    file: fs::File,
}

impl SessionFile {
    pub fn open(dir: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = dir.join("session");
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        Ok(Self { path, file })
    }

    /// The newest valid record, and whether all that was ever written is.
    pub fn read(&self) -> Result<(Option<Record>, bool)> {
        let mut bytes = Vec::new();
        let mut part = [0u8; 2 * SECTOR];
        let mut at = 0;
        while bytes.len() < part.len() {
            match self.file.read_at(&mut part, at) {
                Ok(0) => break,
                Ok(n) => {
                    bytes.extend_from_slice(&part[..n]);
                    at += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
        bytes.resize(2 * SECTOR, 0);
        let sectors: Vec<&[u8]> = bytes.chunks_exact(SECTOR).collect();
        let found: Vec<Record> = sectors
            .iter()
            .filter_map(|sector| Record::decode(sector))
            .collect();
        let newest = found.iter().copied().max_by_key(|record| record.version);
        // Versions take turns from the first one on: where one is missing, the newest may be.
        let whole = match newest {
            None => bytes.iter().all(|byte| *byte == 0),
            Some(newest) if newest.version == 1 => {
                found.len() == 2 || sectors[0].iter().all(|byte| *byte == 0)
            }
            Some(_) => found.len() == 2,
        };
        Ok((newest, whole))
    }

    pub fn write(&self, record: Record) -> Result<()> {
        let meta = self
            .file
            .metadata()
            .map_err(Error::io("look at", &self.path))?;
        let record = Record {
            device: meta.dev(),
            inode: meta.ino(),
            boot: boot_id(),
            ..record
        };
        let at = record.version % 2 * SECTOR as u64;
        self.file
            .write_all_at(&record.encode(), at)
            .and_then(|()| self.file.sync_all())
            .map_err(Error::io("write", &self.path))
    }

    /// Whether the record was written to this very file, not to one that this was copied or restored from.
    fn is_of(&self, record: &Record) -> Result<bool> {
        let meta = self
            .file
            .metadata()
            .map_err(Error::io("look at", &self.path))?;
        Ok(record.device == meta.dev() && record.inode == meta.ino())
    }
}

/// What doctor sees of the file `session`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionLook {
    pub newest: Option<SessionEnd>,
    /// By sector.
    pub damaged: [bool; 2],
    /// The file is the one that was written to, no copy.
    pub own_file: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionEnd {
    pub session: u64,
    pub last_unclean: u64,
    pub last_lossy: u64,
    pub clean: bool,
    pub same_boot: bool,
}

/// Reads the file `session` without making or changing anything.
pub(crate) fn look(dir: &Path) -> Result<SessionLook> {
    let path = dir.join("session");
    let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
    let file = SessionFile { path, file };
    let (newest, whole) = file.read()?;
    let mut bytes = [0u8; 2 * SECTOR];
    let _ = file.file.read_at(&mut bytes, 0);
    let wrong = |n: usize| Record::decode(&bytes[n * SECTOR..(n + 1) * SECTOR]).is_none();
    Ok(SessionLook {
        damaged: [!whole && wrong(0), !whole && wrong(1)],
        own_file: newest.is_some_and(|newest| file.is_of(&newest).unwrap_or(false)),
        newest: newest.map(|newest| SessionEnd {
            session: newest.session,
            last_unclean: newest.last_unclean,
            last_lossy: newest.last_lossy,
            clean: newest.clean,
            same_boot: newest.boot == boot_id(),
        }),
    })
}

/// The next session's record, written and synced: from here on the directory counts as not cleanly closed.
pub(crate) fn begin(sessions: &SessionFile, found: Option<Record>, whole: bool) -> Result<Record> {
    let next = match found {
        None if whole => Record {
            version: 1,
            session: 1,
            ..Record::default()
        },
        None => {
            // Both copies are damaged: any number above all that there can have been, and nothing is trusted.
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1 << 40, |since| since.as_millis() as u64);
            Record {
                version: 1 << 32,
                session: now,
                last_unclean: now - 1,
                last_lossy: now - 1,
                ..Record::default()
            }
        }
        Some(last) => {
            let same = sessions.is_of(&last)?;
            // The damaged copy may have been of one session more, which did not end cleanly for all we know.
            let newest = last.session + u64::from(!whole);
            let last_unclean = if last.clean && same && whole {
                last.last_unclean
            } else {
                newest
            };
            // The clean end of a session says nothing of a log that only an earlier, unclean one had written to.
            let survived = same && last.boot == boot_id() && last.boot != [0; 2];
            Record {
                version: last.version + 1,
                session: newest + 1,
                last_unclean,
                last_lossy: if survived {
                    last.last_lossy
                } else {
                    last_unclean
                },
                ..Record::default()
            }
        }
    };
    sessions.write(next)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64) -> Record {
        Record {
            version,
            session: version * 10,
            clean: version % 2 == 0,
            ..Record::default()
        }
    }

    #[test]
    fn the_session_file_survives_a_torn_write() {
        let dir = tempfile::tempdir().unwrap();
        let file = SessionFile::open(dir.path()).unwrap();
        assert_eq!(file.read().unwrap(), (None, true));
        for version in 1..=4 {
            file.write(record(version)).unwrap();
            let (found, whole) = file.read().unwrap();
            let found = found.unwrap();
            assert_eq!((found.session, whole), (version * 10, true));
            assert!(file.is_of(&found).unwrap());
        }
        // Tear the newest: version 4 lies in the first sector.
        file.file.write_all_at(&[0xFF; 100], 40).unwrap();
        let (found, whole) = file.read().unwrap();
        assert_eq!((found.unwrap().session, whole), (30, false));
        // Session 31 may have been, and may not have ended cleanly.
        let next = begin(&file, found, whole).unwrap();
        assert_eq!((next.session, next.last_unclean), (32, 31));
        assert!(file.read().unwrap().1);
        file.file.write_all_at(&[0xFF; 100], 40).unwrap();
        file.file.write_all_at(&[0xFF; 100], 552).unwrap();
        assert_eq!(file.read().unwrap(), (None, false));
    }

    #[test]
    fn a_copied_directory_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = SessionFile::open(dir.path()).unwrap();
        file.write(record(1)).unwrap();
        file.write(record(2)).unwrap();
        fs::copy(&file.path, dir.path().join("copy")).unwrap();
        fs::rename(dir.path().join("copy"), &file.path).unwrap();
        let copy = SessionFile::open(dir.path()).unwrap();
        let (found, whole) = copy.read().unwrap();
        let next = begin(&copy, found, whole).unwrap();
        assert_eq!(
            (next.session, next.last_unclean, next.last_lossy),
            (21, 20, 20)
        );
    }
}

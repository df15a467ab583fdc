#![allow(unused)]
use headwater_log::error::{Error, Result};
use headwater_log::options::*;
pub use headwater_log::shared::LoopBell;
use std::time::{Duration, Instant};
#[derive(Clone)] pub struct Engine;
pub struct EngineInfo; 
pub struct ObjectInfo { pub kind: String, pub name: String, pub config_json: String }
impl Engine {
  pub fn open(o: &OpenOptions) -> Result<Engine> { todo!() }
  pub fn memory(name: Option<&str>, o: &OpenOptions) -> Result<Engine> { todo!() }
  pub fn close(&self) -> Result<()> { todo!() } pub fn is_closed(&self) -> bool { todo!() }
  pub fn flush(&self, d: Option<Instant>) -> Result<()> { todo!() }
  pub fn objects(&self) -> Result<Vec<ObjectInfo>> { todo!() }
  pub fn delete(&self, kind: &str, name: &str) -> Result<()> { todo!() }
  pub fn declare_stream(&self, n: &str, c: &StreamConfig) -> Result<Stream> { todo!() }
  pub fn open_stream(&self, n: &str) -> Result<Stream> { todo!() }
  pub fn declare_queue(&self, n: &str, c: &QueueConfig) -> Result<Queue> { todo!() }
  pub fn open_queue(&self, n: &str) -> Result<Queue> { todo!() }
  pub fn channels(&self) -> Channels { todo!() }
  pub fn bell(&self) -> u32 { todo!() } pub fn wait_bell(&self, s: u32, d: Option<Instant>) -> bool { todo!() } pub fn ring_self(&self) {} pub fn loop_bell(&self) -> Result<LoopBell> { todo!() }
  pub fn durability(&self) -> Durability { todo!() }
}
#[derive(Default, Clone, Copy)] pub struct Record<'a> { pub value: &'a [u8], pub key: Option<&'a [u8]>, pub time_ns: Option<i64>, pub headers: Option<&'a [u8]>, pub id: Option<&'a [u8]>, pub due_ns: Option<i64>, pub ttl_ns: Option<i64>, pub unique: Option<&'a [u8]> }
pub struct RecordRef<'a> { pub seq: u64, pub append_ns: i64, pub value: &'a [u8], pub key: Option<&'a [u8]>, pub headers: Option<&'a [u8]>, pub id: Option<&'a [u8]>, p: () }
impl RecordRef<'_> { pub fn time_ns(&self) -> i64 { 0 } }
pub enum Expect { Empty, Seq(u64) } pub enum ExpectKey { Absent, Seq(u64) }
#[derive(Default)] pub struct Conditions { pub expect: Option<Expect>, pub expect_key: Option<ExpectKey> }
#[derive(Clone, Copy)] pub enum Wait { Try, Until(Instant) }
#[derive(Clone, Copy)] pub struct Appended { pub seq: u64, pub duplicate: bool, pub end_lba: u64 }
pub enum Start { Earliest, Latest, Seq(u64), After(u64), Time(i64), Last(u64) } pub enum Stop { Seq(u64), Time(i64), Tail }
pub struct ReadOptions { pub start: Start, pub stop: Option<Stop>, pub key: Option<Vec<u8>>, pub skip_trimmed: bool }
#[derive(Clone)] pub struct Stream;
impl Stream {
 pub fn append(&self, r: &Record<'_>, c: &Conditions, w: Wait) -> Result<Appended> { todo!() }
 pub fn append_many(&self, r: &[Record<'_>], atomic: bool, w: Wait) -> Result<Vec<Result<Appended>>> { todo!() }
 pub fn wait_durable(&self, lba: u64, d: Option<Instant>) -> Result<()> { todo!() }
 pub fn reader(&self, o: ReadOptions) -> Result<Reader> { todo!() }
 pub fn trim(&self, before: u64) -> Result<()> { todo!() }
 pub fn config(&self) -> Result<StreamConfig> { todo!() } pub fn alter(&self, c: &StreamConfig) -> Result<()> { todo!() }
 pub fn declare_group(&self, n: &str, c: &GroupConfig) -> Result<Group> { todo!() } pub fn open_group(&self, n: &str) -> Result<Group> { todo!() }
 pub fn groups(&self) -> Result<Vec<String>> { todo!() } pub fn delete_group(&self, n: &str) -> Result<()> { todo!() }
 pub fn info(&self) -> Result<StreamInfo> { todo!() }
}
pub struct StreamInfo { pub first_seq: Option<u64>, pub last_seq: Option<u64>, pub next_seq: u64, pub records: u64, pub bytes: u64, pub segments: u64, pub first_time: Option<i64>, pub last_time: Option<i64>, pub appended_total: u64 }
pub struct Reader;
impl Reader { pub fn next(&mut self) -> Result<Option<RecordRef<'_>>> { todo!() } pub fn ended(&self) -> bool { todo!() } pub fn arm(&self) {} pub fn position(&self) -> Option<u64> { todo!() } }
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)] pub struct Ticket { pub claim: u64, pub lane: u8, pub seq: u64 }
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)] pub struct JobId { pub lane: u8, pub seq: u64 }
impl std::fmt::Display for JobId { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}-{}", self.lane, self.seq) } }
impl std::str::FromStr for JobId { type Err = Error; fn from_str(t: &str) -> Result<Self> { todo!() } }
#[derive(Clone, Debug, Default)] pub struct ErrorNote { pub kind: String, pub message: String, pub traceback: String }
#[derive(Clone, Debug, Default)] pub struct Nack { pub delay: Option<Duration>, pub counted: bool, pub error: Option<ErrorNote> }
pub enum NackOutcome { Retry { due_ns: i64 }, Dead, LeaseLost }
pub struct SourceStats { pub ready: u64, pub delayed: u64, pub leased: u64, pub dead: u64, pub oldest_age_ns: Option<i64>, pub oldest_lease_ns: Option<i64>, pub put_total: u64, pub acked_total: u64, pub expired_total: u64, pub paused: bool }
pub enum SeekTo { Earliest, Latest, Seq(u64), Time(i64) }
pub struct AttemptNote { pub attempt: u32, pub time_ns: i64, pub outcome: String, pub error: Option<ErrorNote> }
pub enum OnDuplicate { Return, Raise }
pub struct Put { pub id: JobId, pub duplicate: bool, pub end_lba: u64 }
pub struct OwnedRecord { pub seq: u64, pub append_ns: i64, pub value: Vec<u8>, pub key: Option<Vec<u8>>, pub headers: Option<Vec<u8>>, pub id: Option<Vec<u8>> }
impl OwnedRecord { pub fn time_ns(&self) -> i64 { 0 } }
pub struct DeadLetter { pub id: JobId, pub record: OwnedRecord, pub reason: String, pub error: Option<ErrorNote>, pub history: Vec<AttemptNote>, pub died_ns: i64 }
#[derive(Clone)] pub struct Source;
impl Source {
 pub fn claim(&self, max: usize, each: &mut dyn FnMut(Ticket, u32, i64, &RecordRef<'_>)) -> Result<usize> { todo!() }
 pub fn arm(&self) {} pub fn next_due_ns(&self) -> Option<i64> { None }
 pub fn ack(&self, t: &[Ticket]) -> Result<Vec<bool>> { todo!() }
 pub fn nack(&self, t: Ticket, n: Nack) -> Result<NackOutcome> { todo!() }
 pub fn reject(&self, t: Ticket, reason: &str, e: Option<ErrorNote>) -> Result<bool> { todo!() }
 pub fn release(&self, t: &[Ticket]) -> Result<()> { todo!() } pub fn give_back_later(&self, t: Ticket) {}
 pub fn extend(&self, t: Ticket, d: Duration) -> Result<bool> { todo!() }
 pub fn stats(&self) -> Result<SourceStats> { todo!() } pub fn lag(&self) -> Result<u64> { todo!() } pub fn seek(&self, t: SeekTo) -> Result<()> { todo!() }
 pub fn pause(&self) -> Result<()> { todo!() } pub fn resume(&self) -> Result<()> { todo!() } pub fn config(&self) -> Result<GroupConfig> { todo!() } pub fn alter(&self, c: &GroupConfig) -> Result<()> { todo!() }
 pub fn dead_list(&self, after: Option<JobId>, max: usize) -> Result<Vec<DeadLetter>> { todo!() }
 pub fn dead_by_error(&self) -> Result<Vec<(String, u64)>> { todo!() } pub fn dead_redrive(&self, ids: Option<&[JobId]>, max: Option<usize>) -> Result<usize> { todo!() }
 pub fn dead_edit(&self, id: JobId, r: &Record<'_>) -> Result<()> { todo!() } pub fn dead_purge(&self) -> Result<usize> { todo!() }
}
#[derive(Clone)] pub struct Group; impl std::ops::Deref for Group { type Target = Source; fn deref(&self) -> &Source { todo!() } }
#[derive(Clone)] pub struct Queue;
impl Queue { pub fn source(&self) -> &Source { todo!() }
 pub fn put(&self, r: &Record<'_>, p: u8, d: OnDuplicate, w: Wait) -> Result<Put> { todo!() }
 pub fn put_many(&self, r: &[(Record<'_>, u8)], atomic: bool, w: Wait) -> Result<Vec<Result<Put>>> { todo!() }
 pub fn wait_durable(&self, id: &Put, d: Option<Instant>) -> Result<()> { todo!() }
 pub fn cancel(&self, id: JobId) -> Result<bool> { todo!() } pub fn purge(&self) -> Result<usize> { todo!() } pub fn config(&self) -> Result<QueueConfig> { todo!() } pub fn alter(&self, c: &QueueConfig) -> Result<()> { todo!() } }
#[derive(Clone)] pub struct Channels;
pub enum Overflow { DropOldest, DropNewest, Block, Error }
pub struct SubscribeOptions { pub buffer: usize, pub overflow: Overflow }
impl Channels { pub fn publish(&self, n: &str, r: &Record<'_>, d: Wait) -> Result<usize> { todo!() } pub fn subscribe(&self, p: &str, o: &SubscribeOptions) -> Result<Subscription> { todo!() } }
pub struct Subscription; pub struct ChannelMessage<'a> { pub name: String, pub record: RecordRef<'a> }
impl Subscription { pub fn next(&mut self) -> Result<Option<ChannelMessage<'_>>> { todo!() } pub fn dropped(&self) -> u64 { 0 } pub fn arm(&self) {} }

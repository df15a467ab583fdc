//! The log over crashes.

use std::time::{Duration, Instant};

use super::Record;
use crate::error::Error;
use crate::stream::{Conditions, Expect, ExpectKey, ReadOptions, Start, Stop, Stream, Wait};
use crate::testing::{stream, Place};

pub(super) fn soon() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(10))
}

pub(super) fn append(stream: &Stream, value: &[u8]) -> u64 {
    stream
        .append(&Record::of(value), &Conditions::default(), soon())
        .unwrap()
        .seq
}

pub(super) fn all(stream: &Stream, start: Start) -> Vec<(u64, Vec<u8>)> {
    read(stream, start, None)
}

fn read(stream: &Stream, start: Start, stop: Option<Stop>) -> Vec<(u64, Vec<u8>)> {
    let options = ReadOptions {
        start,
        stop,
        follow: false,
        key: None,
        skip_trimmed: true,
    };
    let mut reader = stream.reader(options).unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        found.push((record.seq, record.value.to_vec()));
    }
    assert!(reader.ended());
    found
}

#[test]
fn what_is_appended_is_read_over_many_segments() {
    let mut place = Place::memory();
    let stream = stream(&place.open(0, 0));
    let values: Vec<Vec<u8>> = (0..30_000u32)
        .map(|n| n.to_string().repeat(1 + n as usize % 9).into_bytes())
        .collect();
    let seqs: Vec<u64> = values.iter().map(|value| append(&stream, value)).collect();
    assert!(stream.info().unwrap().segments > 3);
    assert_eq!(
        all(&stream, Start::Earliest),
        seqs.iter().copied().zip(values.clone()).collect::<Vec<_>>()
    );
    for n in (0..30_000).step_by(997) {
        assert_eq!(stream.log.rank(seqs[n]).unwrap(), n as u64);
        assert_eq!(stream.log.seq_of_rank(n as u64).unwrap(), seqs[n]);
        assert_eq!(all(&stream, Start::After(seqs[n])).len(), 30_000 - n - 1);
        assert_eq!(
            stream.log.read_at(seqs[n]).unwrap().unwrap().get().value,
            values[n].as_slice()
        );
    }
    assert_eq!(all(&stream, Start::Last(7)).len(), 7);
    assert_eq!(all(&stream, Start::Latest), []);
}

#[test]
fn a_batch_is_one_chain_or_several_frames() {
    let mut place = Place::memory();
    let stream = stream(&place.open(0, 0));
    let value = vec![7u8; 100_000];
    let records = vec![Record::of(&value); 20];
    for atomic in [true, false] {
        let done = stream.append_many(&records, atomic, soon()).unwrap();
        assert_eq!(done.len(), 20);
        let seqs: Vec<u64> = done.into_iter().map(|one| one.unwrap().seq).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    assert_eq!(all(&stream, Start::Earliest).len(), 40);
    let huge = vec![0u8; 16 << 20];
    let too_much = vec![Record::of(&huge[..15 << 20]); 5];
    assert!(matches!(
        stream.append_many(&too_much, true, soon()),
        Err(Error::TooLarge { .. })
    ));
    assert_eq!(all(&stream, Start::Earliest).len(), 40);
    let record = Record {
        value: &huge,
        key: Some(b"k"),
        ..Record::default()
    };
    assert!(matches!(
        stream.append(&record, &Conditions::default(), soon()),
        Err(Error::TooLarge { .. })
    ));
}

/// The segment and offset at which the chain lies that was appended when the tail was `before`.
fn chain_at(stream: &Stream, before: u64) -> (std::sync::Arc<super::Segment>, u64) {
    use std::sync::atomic::Ordering;
    let base = stream.log.state().active_base.load(Ordering::Acquire);
    let segment = stream.log.segment(base).unwrap().unwrap();
    let off = before
        .checked_sub(segment.header.base_lba)
        .unwrap_or(super::segment::START);
    (segment, off)
}

#[test]
fn a_chain_whose_writer_died_before_its_first_word_is_not_there() {
    use std::sync::atomic::Ordering;
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let first = stream(&ctx);
    append(&first, b"before");
    let before = first.log.state().tail.load(Ordering::Acquire);
    let value = vec![7u8; 100_000];
    first
        .append_many(&vec![Record::of(&value); 20], true, soon())
        .unwrap();
    let (segment, off) = chain_at(&first, before);
    segment.map.word(off as usize).store(0, Ordering::Release);
    let ctx = place.open(ctx.session, 0);
    let second = stream(&ctx);
    assert_eq!(all(&second, Start::Earliest).len(), 1);
    assert_eq!(second.info().unwrap().holes, []);
    append(&second, b"after");
    assert_eq!(all(&second, Start::Earliest).len(), 2);
}

#[test]
fn damage_inside_a_chain_costs_one_frame_and_nothing_behind_it() {
    use std::sync::atomic::Ordering;
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let first = stream(&ctx);
    append(&first, b"before");
    let before = first.log.state().tail.load(Ordering::Acquire);
    let value = vec![7u8; 100_000];
    first
        .append_many(&vec![Record::of(&value); 20], true, soon())
        .unwrap();
    let (segment, off) = chain_at(&first, before);
    let last = append(&first, b"after");
    segment.map.zero(off as usize + 1_000_000, 8);
    let ctx = place.open(ctx.session, 0);
    let second = stream(&ctx);
    assert_eq!(second.info().unwrap().holes, [(last - 20, last)]);
    let appended = append(&second, b"later");
    let mut reader = second
        .reader(ReadOptions {
            start: Start::Earliest,
            stop: None,
            follow: false,
            key: None,
            skip_trimmed: false,
        })
        .unwrap();
    let (mut found, mut damaged) = (Vec::new(), 0);
    while !reader.ended() {
        match reader.next() {
            Ok(Some(record)) => found.push((record.seq, record.value.to_vec())),
            Ok(None) => {}
            Err(Error::Corruption { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(damaged, 1);
    assert_eq!(found.len(), 3 + 18, "a frame of two records was damaged");
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(
        found[found.len() - 2..],
        [(last, b"after".to_vec()), (appended, b"later".to_vec())]
    );
}

#[test]
fn an_id_is_appended_once_also_after_a_crash() {
    let mut place = Place::memory();
    let mut ctx = place.open(0, 0);
    let record = Record {
        value: b"x",
        id: Some(b"a"),
        ..Record::default()
    };
    let first = stream(&ctx)
        .append(&record, &Conditions::default(), soon())
        .unwrap();
    assert!(!first.duplicate);
    for _ in 0..3 {
        ctx = place.open(ctx.session, 0);
        let again = stream(&ctx)
            .append(&record, &Conditions::default(), soon())
            .unwrap();
        assert_eq!((again.seq, again.duplicate), (first.seq, true));
    }
    let batch = [
        record,
        Record {
            value: b"y",
            id: Some(b"b"),
            ..Record::default()
        },
        record,
    ];
    for atomic in [true, false] {
        let done = stream(&ctx).append_many(&batch, atomic, soon()).unwrap();
        let seqs: Vec<u64> = done.into_iter().map(|one| one.unwrap().seq).collect();
        assert_eq!(seqs, [1, 2, 1]);
    }
}

#[test]
fn expectations_hold_or_say_what_is_there() {
    let mut place = Place::memory();
    let stream = stream(&place.open(0, 0));
    let when = |expect, expect_key| Conditions { expect, expect_key };
    let record = Record {
        value: b"x",
        key: Some(b"k"),
        ..Record::default()
    };
    let seq = stream
        .append(
            &record,
            &when(Some(Expect::Empty), Some(ExpectKey::Absent)),
            soon(),
        )
        .unwrap()
        .seq;
    for conditions in [
        when(Some(Expect::Empty), None),
        when(Some(Expect::Seq(seq + 1)), None),
        when(None, Some(ExpectKey::Absent)),
        when(None, Some(ExpectKey::Seq(9))),
    ] {
        let Err(Error::Conflict { actual, .. }) = stream.append(&record, &conditions, soon())
        else {
            panic!()
        };
        assert_eq!(actual, Some(seq));
    }
    stream
        .append(
            &record,
            &when(Some(Expect::Seq(seq)), Some(ExpectKey::Seq(seq))),
            soon(),
        )
        .unwrap();
    let other = Record {
        value: b"x",
        key: Some(b"other"),
        ..Record::default()
    };
    stream
        .append(&other, &when(None, Some(ExpectKey::Absent)), soon())
        .unwrap();
}

#[test]
fn event_times_are_found_in_the_order_of_positions() {
    let mut place = Place::memory();
    let stream = stream(&place.open(0, 0));
    // Every tenth comes 50 late; the index must not hide it.
    let times: Vec<i64> = (0..20_000)
        .map(|n| if n % 10 == 9 { n * 10 - 500 } else { n * 10 })
        .collect();
    for time in &times {
        let value = [1u8; 60];
        let record = Record {
            value: &value,
            time_ns: Some(*time),
            ..Record::default()
        };
        stream
            .append(&record, &Conditions::default(), soon())
            .unwrap();
    }
    for t in [-1, 0, 5, 1234, 99_990, 150_005, 199_980, 300_000] {
        let expected = times
            .iter()
            .position(|time| *time >= t)
            .map_or(20_001, |n| n as u64 + 1);
        assert_eq!(stream.log.seq_at_time(t).unwrap(), expected, "{t}");
        let found = read(&stream, Start::Time(t), Some(Stop::Time(t + 1000)));
        let end = times
            .iter()
            .position(|time| *time >= t + 1000)
            .map_or(20_001, |n| n as u64 + 1);
        assert_eq!(found.len() as u64, end.saturating_sub(expected), "{t}");
    }
}

#[test]
fn a_trimmed_start_is_told_once() {
    let mut place = Place::memory();
    let stream = stream(&place.open(0, 0));
    for n in 0..20_000u32 {
        append(&stream, &n.to_le_bytes().repeat(20));
    }
    let before = stream.info().unwrap();
    stream.trim(15_000).unwrap();
    let info = stream.info().unwrap();
    assert_eq!(info.first_seq, 15_000);
    assert_eq!(info.records, 5_001);
    assert!(info.bytes < before.bytes);
    let options = ReadOptions {
        start: Start::Seq(1),
        stop: None,
        follow: false,
        key: None,
        skip_trimmed: false,
    };
    let mut reader = stream.reader(options).unwrap();
    let Err(Error::Trimmed { asked, first, .. }) = reader.next() else {
        panic!()
    };
    assert_eq!((asked, first), (1, 15_000));
    assert_eq!(reader.next().unwrap().unwrap().seq, 15_000);
    assert_eq!(all(&stream, Start::Earliest).len(), 5_001);
}

#[test]
fn positions_jump_after_a_lost_page_cache_only() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    assert_eq!(append(&stream(&ctx), b"a"), 1);
    let ctx = place.open(ctx.session, 0);
    assert_eq!(append(&stream(&ctx), b"b"), 2);
    let ctx = place.open(ctx.session, ctx.session);
    let seq = append(&stream(&ctx), b"c");
    assert!(seq > 1 << 32, "{seq}");
    let ctx = place.open(0, 0);
    assert_eq!(all(&stream(&ctx), Start::Earliest).len(), 3);
    assert_eq!(stream(&ctx).info().unwrap().records, 3);
}

#[test]
fn a_torn_tail_is_dropped_and_kept_aside() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    for n in 0..10u8 {
        append(&orders, &[n; 50]);
    }
    let segment = orders.log.segment(1).unwrap().unwrap();
    let tail = orders
        .log
        .state()
        .tail
        .load(std::sync::atomic::Ordering::Relaxed) as usize;
    // The last frame: 32 + 8 + 56 bytes. One byte of its value never reached the disk.
    segment.map.zero(tail - 20, 1);
    let ctx = place.open(ctx.session, ctx.session);
    let orders = stream(&ctx);
    assert_eq!(all(&orders, Start::Earliest).len(), 9);
    let kept = ctx.storage.list(&ctx.root.join("quarantine")).unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    append(&orders, b"next");
    assert_eq!(all(&orders, Start::Earliest).len(), 10);
}

#[test]
fn damage_below_the_promise_is_an_error_and_the_rest_is_read() {
    let mut place = Place::memory();
    let ctx = place.open(0, 0);
    let orders = stream(&ctx);
    for n in 0..10u8 {
        append(&orders, &[n; 50]);
    }
    orders.log.write_tail_note().unwrap();
    let segment = orders.log.segment(1).unwrap().unwrap();
    let frame = 32 + 8 + 56;
    segment.map.zero(4096 + 4 * frame + 60, 1);
    let check = |orders: &Stream| {
        let options = ReadOptions {
            start: Start::Earliest,
            stop: None,
            follow: false,
            key: None,
            skip_trimmed: false,
        };
        let mut reader = orders.reader(options).unwrap();
        let mut found = Vec::new();
        let mut errors = 0;
        loop {
            match reader.next() {
                Ok(Some(record)) => found.push(record.value[0]),
                Ok(None) => break,
                Err(Error::Corruption { offset, .. }) => {
                    assert_eq!(offset, 4096 + 4 * frame as u64);
                    errors += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((found, errors), (vec![0, 1, 2, 3, 5, 6, 7, 8, 9], 1));
    };
    check(&orders);
    // Also when the next session must scan, and whether or not the page cache survived.
    for lossy in [false, true] {
        let session = place.session;
        let ctx = place.open(session, if lossy { session } else { 0 });
        check(&stream(&ctx));
    }
}

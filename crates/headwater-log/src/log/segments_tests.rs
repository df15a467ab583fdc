//! Segments that come and go: finished ones from the middle, rolls that were cut short.

use std::sync::atomic::Ordering;

use super::segment::{Header, LogKind, Segment};
use super::tests::{all, append, soon};
use super::Record;
use crate::shared::layout::intent_op;
use crate::stream::{ReadOptions, Start, Stream};
use crate::testing::{stream, Place};

#[test]
fn finished_segments_go_also_from_the_middle_and_no_crash_takes_more() {
    for promised in [true, false] {
        let mut place = Place::memory();
        let ctx = place.open(0, 0);
        let orders = stream(&ctx);
        let value = [7u8; 200];
        for _ in 0..20_000 {
            append(&orders, &value);
        }
        let log = &orders.log;
        let bases = log.segment_bases().unwrap();
        assert!(bases.len() > 5);
        let span = |n: usize| (bases[n], bases[n + 1]);
        log.drop_finished(&[span(0), span(2), span(3)]).unwrap();
        // Twice is once.
        log.drop_finished(&[span(2), span(3)]).unwrap();
        let kept: Vec<u64> = (bases[1]..bases[2]).chain(bases[4]..=20_000).collect();
        let seqs = |stream: &Stream| -> Vec<u64> {
            all(stream, Start::Earliest)
                .into_iter()
                .map(|(seq, _)| seq)
                .collect()
        };
        assert_eq!(seqs(&orders), kept);
        assert_eq!(log.rank(bases[4] + 5).unwrap(), bases[4] + 4);
        assert_eq!(log.meta().holes.len(), 1);
        if !promised {
            // As if the headers' promises had been torn by a kill: recovery comes upon the hole.
            for base in log.segment_bases().unwrap() {
                log.segment(base).unwrap().unwrap().set_promise(0);
            }
        }
        drop(ctx);
        let again = stream(&place.open(1, 0));
        assert_eq!(seqs(&again), kept);
        assert_eq!(append(&again, &value), 20_001);
        again.log.trim(bases[4]).unwrap();
        assert_eq!(again.log.meta().holes, []);
    }
}

#[test]
fn a_roll_that_was_cut_short_loses_nothing_and_leaves_nothing_in_the_way() {
    for survivor in [true, false] {
        let mut place = Place::memory();
        let ctx = place.open(0, 0);
        let orders = stream(&ctx);
        for n in 0..10u8 {
            append(&orders, &[n]);
        }
        let (log, page) = (&orders.log, orders.log.state());
        let old = log.segment(1).unwrap().unwrap().header;
        let begun = Header {
            base_seq: 11,
            base_lba: old.base_lba + old.file_size,
            base_ordinal: 10,
            ..old
        };
        Segment::create(&ctx, &log.dir, LogKind::Stream, begun).unwrap();
        page.intent_lba
            .store(page.tail.load(Ordering::Relaxed), Ordering::Relaxed);
        page.intent_len.store(0, Ordering::Relaxed);
        page.intent_op.store(intent_op::ROLL, Ordering::Release);
        let again = if survivor {
            log.repair().unwrap();
            orders
        } else {
            drop((orders, ctx));
            stream(&place.open(1, 0))
        };
        for n in 10..20u8 {
            assert_eq!(append(&again, &[n]), u64::from(n) + 1);
        }
        let whole: Vec<(u64, Vec<u8>)> = (0..20u8).map(|n| (u64::from(n) + 1, vec![n])).collect();
        assert_eq!(all(&again, Start::Earliest), whole);
        assert_eq!(all(&again, Start::After(15)), whole[15..]);
        drop(again);
        assert_eq!(
            all(&stream(&place.open(2, 0)), Start::Earliest),
            whole,
            "{survivor}"
        );
    }
}

#[test]
fn a_reader_follows_when_the_first_record_is_too_big_for_the_first_segment() {
    let mut place = Place::memory();
    let log = stream(&place.open(0, 0));
    let options = ReadOptions {
        start: Start::Earliest,
        stop: None,
        follow: true,
        key: None,
        skip_trimmed: false,
    };
    // It has the empty segment mapped that is about to be rolled.
    let mut reader = log.reader(options).unwrap();
    assert!(reader.next().unwrap().is_none());
    let big = vec![7u8; 100_000];
    let batch = [Record::of(&big), Record::of(b"small")];
    let outcomes = log.append_many(&batch, true, soon()).unwrap();
    let seqs: Vec<u64> = outcomes.into_iter().map(|each| each.unwrap().seq).collect();
    assert_eq!(seqs[1], seqs[0] + 1);
    for (seq, value) in seqs.iter().zip([&big[..], b"small"]) {
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.seq, record.value), (*seq, value));
    }
    assert_eq!(log.log.rank(seqs[1]).unwrap(), 1);
    drop((log, reader));
    // Nobody closed it.
    let log = stream(&place.open(1, 0));
    let info = log.info().unwrap();
    assert_eq!((info.records, info.last_seq), (2, seqs[1]));
    assert_eq!(
        all(&log, Start::Last(2)),
        [(seqs[0], big), (seqs[1], b"small".to_vec())]
    );
}

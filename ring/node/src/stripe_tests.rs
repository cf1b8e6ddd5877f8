use super::*;

const SCHEMES: [(usize, usize); 6] = [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (10, 4)];

fn bytes(length: usize) -> Bytes {
    let mut state = length as u64 | 1;
    let next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect::<Vec<u8>>().into()
}

/// All shards of a stripe, as they are written run by run.
fn shards(geometry: Geometry, all: &Bytes) -> Vec<Vec<u8>> {
    let mut shards = vec![Vec::new(); geometry.shards()];
    for start in (0..all.len()).step_by(geometry.run_bytes()) {
        let run = all.slice(start..all.len().min(start + geometry.run_bytes()));
        for (shard, cell) in shards.iter_mut().zip(geometry.encode(&run).unwrap()) {
            shard.extend_from_slice(&cell);
        }
    }
    shards
}

fn read(geometry: Geometry, shards: &[Vec<u8>], length: u64, range: Range<u64>) -> Vec<u8> {
    let run = geometry.run_bytes() as u64;
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let to = range.end.min((at / run + 1) * run);
        for piece in geometry.pieces(length, at..to) {
            found.extend_from_slice(&shards[piece.shard][piece.range.start as usize..piece.range.end as usize]);
        }
        at = to;
    }
    found
}

#[test]
fn every_range_of_a_small_run_is_where_the_arithmetic_says() {
    for scheme in SCHEMES {
        let geometry = Geometry::new(scheme);
        for length in [1, 2, 3, 7, 16, 61] {
            let all = bytes(length);
            let shards = shards(geometry, &all);
            assert!(shards.iter().all(|shard| shard.len() as u64 == geometry.shard_bytes(length as u64)));
            for start in 0..length as u64 {
                for end in start + 1..=length as u64 {
                    let found = read(geometry, &shards, length as u64, start..end);
                    assert_eq!(found, &all[start as usize..end as usize], "{scheme:?} {length} {start}..{end}");
                }
            }
        }
    }
}

#[test]
fn ranges_across_runs_cells_and_chunks() {
    for scheme in [(2, 1), (3, 2), (5, 3)] {
        let geometry = Geometry::new(scheme);
        let run = geometry.run_bytes();
        for length in [run, run + 1, run * 2 - 1, run * 2 + CHUNK_SIZE_BYTES + 3] {
            let all = bytes(length);
            let shards = shards(geometry, &all);
            assert!(shards.iter().all(|shard| shard.len() as u64 == geometry.shard_bytes(length as u64)));
            let cell = geometry.chunks_per_run() * CHUNK_SIZE_BYTES;
            let edges = [0, CHUNK_SIZE_BYTES, cell, 2 * cell, run, run + 1, length];
            let around = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
            let mut marks: Vec<usize> = edges.into_iter().flat_map(around).filter(|&mark| mark <= length).collect();
            marks.dedup();
            for &start in &marks {
                for &end in marks.iter().filter(|&&end| end > start) {
                    let found = read(geometry, &shards, length as u64, start as u64..end as u64);
                    assert!(found == all[start..end], "{scheme:?} {length} {start}..{end}");
                }
            }
        }
    }
}

#[test]
fn every_shard_is_rebuilt_whatever_is_lost() {
    for scheme in SCHEMES {
        let geometry = Geometry::new(scheme);
        for length in [1, 130, 4099] {
            let cells = geometry.encode(&bytes(length)).unwrap();
            for lost in (0..1u32 << geometry.shards()).filter(|lost| lost.count_ones() as usize == geometry.parity) {
                let known: Vec<(usize, Bytes)> =
                    cells.iter().cloned().enumerate().filter(|(shard, _)| lost & (1 << shard) == 0).collect();
                assert_eq!(known.len(), geometry.data);
                for wanted in (0..geometry.shards()).filter(|shard| lost & (1 << shard) != 0) {
                    let rebuilt = geometry.rebuild(wanted, &known).unwrap();
                    assert_eq!(rebuilt, cells[wanted], "{scheme:?} {length} lost {lost:b} wanted {wanted}");
                }
            }
        }
    }
}

#[test]
fn a_chunk_of_a_cell_is_a_codeword_of_its_own() {
    let geometry = Geometry::new((3, 2));
    let cells = geometry.encode(&bytes(geometry.run_bytes() - 70_001)).unwrap();
    let chunk = |shard: usize| {
        let start = CHUNK_SIZE_BYTES;
        (shard, cells[shard].slice(start..cells[shard].len()))
    };
    for wanted in 0..5 {
        let known: Vec<_> = (0..5).filter(|&shard| shard != wanted).map(chunk).take(3).collect();
        assert_eq!(geometry.rebuild(wanted, &known).unwrap(), chunk(wanted).1, "{wanted}");
    }
}

#[test]
fn fewer_shards_than_data_give_nothing() {
    let geometry = Geometry::new((3, 2));
    let cells = geometry.encode(&bytes(100)).unwrap();
    let known: Vec<_> = cells.iter().cloned().enumerate().take(2).collect();
    assert_eq!(geometry.rebuild(2, &known), Err(CodeError));
}

#[test]
fn the_quorum_loses_what_copies_may_lose() {
    for ((data, parity), quorum) in [((2, 1), 3), ((4, 2), 5), ((3, 2), 4), ((5, 3), 7), ((10, 4), 12)] {
        assert_eq!(Geometry::new((data, parity)).write_quorum(), quorum);
    }
}

//! What is under way together arrives as if it had gone one after the other.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::qnet::tests::Module;

const FILE: &str = "beta/file";
const PIECE: usize = FILE_BYTES_MAX as usize;

/// A node with one file; `first` is asked about each write before it is done.
fn node(
    file: &Arc<Mutex<Vec<u8>>>,
    first: impl Fn(u64, &[u8]) -> Result<usize, Errno> + Send + Sync + 'static,
) -> Module {
    let file = Arc::clone(file);
    Module::start(move |call| match call {
        FileCall::Write { offset, data, .. } => {
            let count = first(offset, &data)?;
            let (mut file, at) = (lock(&file), usize::try_from(offset).unwrap());
            let end = file.len().max(at + count);
            file.resize(end, 0);
            file[at..at + count].copy_from_slice(&data[..count]);
            Ok(FileReply::Written(u32::try_from(count).unwrap()))
        }
        FileCall::Read { offset, len, .. } => {
            let file = lock(&file);
            let rest = file.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            Ok(FileReply::Data(rest[..rest.len().min(len as usize)].to_vec()))
        }
        call => panic!("{call:?}"),
    })
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

#[test]
fn a_file_is_written_and_read_in_pieces_that_go_together() {
    let (file, wanted) = (Arc::default(), bytes(30 * PIECE + 7));
    let module = node(&file, |_, data| Ok(data.len()));
    let (doors, behind) = (module.doors(), Behind::default());
    behind.write(&doors, FILE, 0, &wanted).unwrap();
    behind.finish(&doors, FILE).unwrap();
    assert_eq!(*lock(&file), wanted);
    let len = u32::try_from(wanted.len()).unwrap();
    for (len, wanted) in [(len + 9, &wanted[5..]), (len - 9, &wanted[5..wanted.len() - 4])] {
        assert_eq!(read(&doors, FILE, 5, len).unwrap(), wanted);
    }
    assert!(behind.files().is_empty());
}

#[test]
fn no_write_waits_for_the_answer_to_the_one_before_until_sixteen_are_under_way() {
    let (let_go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let module = node(&Arc::default(), move |_, data| {
        lock(&gate).recv_timeout(Duration::from_secs(60)).map_err(|_| Errno::TIMEDOUT)?;
        Ok(data.len())
    });
    let (doors, behind) = (module.doors(), Behind::default());
    behind.write(&doors, FILE, 0, &bytes(16 * PIECE)).unwrap();
    (0..16).for_each(|_| let_go.send(()).unwrap());
    behind.finish(&doors, FILE).unwrap();
}

#[test]
fn a_failure_is_told_once_by_the_next_write_or_the_end() {
    let module =
        node(
            &Arc::default(),
            |offset, data| {
                if offset == 4 { Err(Errno::NOSPC) } else { Ok(data.len()) }
            },
        );
    let (doors, behind) = (module.doors(), Behind::default());
    let write = |offset| behind.write(&doors, FILE, offset, b"data");
    assert_eq!((write(0), write(4)), (Ok(()), Ok(())));
    assert_eq!(behind.finish(&doors, FILE), Err(Errno::NOSPC));
    assert_eq!(behind.finish(&doors, FILE), Ok(()));
    assert_eq!(write(4), Ok(()));
    behind.settle(&doors, FILE);
    assert_eq!((write(8), write(12)), (Err(Errno::NOSPC), Ok(())));
    assert_eq!(behind.finish(&doors, FILE), Ok(()));
}

#[test]
fn what_a_node_leaves_of_a_piece_goes_again() {
    let file = Arc::default();
    let module = node(&file, |_, data| Ok(data.len().min(3)));
    let (doors, behind) = (module.doors(), Behind::default());
    behind.write(&doors, FILE, 0, b"three by three").unwrap();
    behind.finish(&doors, FILE).unwrap();
    assert_eq!(*lock(&file), b"three by three");
}

#[test]
fn what_is_written_over_is_written_after() {
    let file = Arc::default();
    let module = node(&file, |_, data| {
        if data[0] == b'a' {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(data.len())
    });
    let (doors, behind) = (module.doors(), Behind::default());
    for data in [b"aaaa", b"bbbb"] {
        behind.write(&doors, FILE, 0, data).unwrap();
    }
    behind.finish(&doors, FILE).unwrap();
    assert_eq!(*lock(&file), b"bbbb");
}

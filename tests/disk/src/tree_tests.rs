//! What a crash takes and what it leaves.

use karri_ring_types::SeededRng;

use super::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from(name)
}

fn write(tree: &mut Tree, name: &str, data: &[u8]) -> Handle {
    let file = tree.open_write(&path(name), false).unwrap();
    tree.append(&file, data).unwrap();
    file
}

fn read(tree: &Tree, name: &str) -> Option<Vec<u8>> {
    tree.open_read(&path(name)).ok().map(|file| file.content.all())
}

#[test]
fn bytes_need_a_sync_of_the_file_and_names_one_of_the_folder() {
    let mut tree = Tree::default();
    let both = write(&mut tree, "/both", b"12");
    tree.sync(&both).unwrap();
    write(&mut tree, "/name", b"12");
    tree.sync_dir(&path("/")).unwrap();
    let bytes = write(&mut tree, "/bytes", b"12");
    tree.sync(&bytes).unwrap();
    tree.append(&both, b"34").unwrap();
    tree.lose(None);
    assert_eq!(read(&tree, "/both").as_deref(), Some(&b"12"[..]));
    assert_eq!(read(&tree, "/name").as_deref(), Some(&b""[..]));
    assert_eq!(read(&tree, "/bytes"), None);
    assert_eq!(tree.append(&both, b"56"), Err(Fault::Crashed), "it was open before the crash");
    drop(bytes);
    assert_eq!(tree.used_bytes(), 2, "nobody has the lost file");
}

#[test]
fn a_rename_is_whole_or_not_and_a_removal_may_come_back() {
    for seed in 0..64 {
        let mut tree = Tree::default();
        for name in ["/old", "/new"] {
            let file = write(&mut tree, name, name.as_bytes());
            tree.sync(&file).unwrap();
        }
        tree.sync_dir(&path("/")).unwrap();
        tree.rename(&path("/new"), &path("/old")).unwrap();
        let rng = SeededRng::new(seed);
        tree.lose((seed > 0).then_some(&rng as &dyn Rng));
        match (read(&tree, "/old"), read(&tree, "/new")) {
            (Some(old), Some(new)) => assert_eq!((&old[..], &new[..]), (&b"/old"[..], &b"/new"[..])),
            (Some(old), None) => assert!(seed > 0 && old == b"/new"),
            other => panic!("seed {seed}: {other:?}"),
        }
        tree.remove(&path("/old")).unwrap();
        tree.lose(None);
        assert!(read(&tree, "/old").is_some());
    }
}

#[test]
fn what_is_in_a_folder_goes_with_the_folder() {
    let mut tree = Tree::default();
    tree.make_dir(&path("/a")).unwrap();
    let file = write(&mut tree, "/a/b", b"12");
    tree.sync(&file).unwrap();
    tree.sync_dir(&path("/a")).unwrap();
    tree.lose(None);
    assert_eq!(tree.list(&path("/")).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(tree.open_write(&path("/a/b"), false).unwrap_err(), Fault::NotFound);
}

#[test]
fn the_chosen_operation_is_the_last_one_and_a_link_keeps_the_bytes() {
    let mut tree = Tree::default();
    let file = write(&mut tree, "/one", b"12");
    tree.link(&path("/one"), &path("/two")).unwrap();
    assert_eq!(tree.link(&path("/one"), &path("/two")), Err(Fault::Exists));
    tree.faults.crash_at = Some(tree.faults.counts.operations + 2);
    tree.remove(&path("/one")).unwrap();
    assert_eq!(tree.sync(&file), Err(Fault::Crashed));
    assert_eq!(tree.exists(&path("/two")), Err(Fault::Crashed));
    let lie = crate::Lie { what: Sync::Folder, under: path("/"), ending: "" };
    tree.lose(Some(&SeededRng::new(1)));
    tree.faults.lies = vec![lie];
    let file = write(&mut tree, "/three", b"12");
    tree.sync(&file).unwrap();
    tree.sync_dir(&path("/")).unwrap();
    tree.lose(None);
    assert_eq!(read(&tree, "/three"), None, "the sync of the folder was not carried out");
    tree.faults.capacity_bytes = Some(1);
    let file = tree.open_write(&path("/four"), false).unwrap();
    assert_eq!(tree.append(&file, b"12"), Err(Fault::NoSpace));
}

//! Files that hold what is printed; `REKNIT_UPDATE=1` writes them anew.

use std::fs;
use std::path::Path;

/// Fails the test unless the golden file `tests/golden/NAME.txt` holds this text.
#[track_caller]
pub(crate) fn check_golden(name: &str, found: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("REKNIT_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder can be made");
        fs::write(&path, found).expect("a file can be written");
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; set REKNIT_UPDATE=1", path.display()));
    assert!(
        expected == found,
        "{} differs, REKNIT_UPDATE=1 takes this over:\n{found}",
        path.display()
    );
}

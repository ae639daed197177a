//! Which files `partway upload` accepts, and the name, type and metadata that it gives them.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::Output,
};

use partway::client::SessionBody;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Cli, Server, file_bytes};

fn upload(server: &Server, file: &Path, more: &[&str]) -> Output {
    Cli::new(&[&["upload"], more].concat()).arg(file.as_os_str()).to(server, &server.first_token).run()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stored(server: &Server) -> Vec<SessionBody> {
    server.sessions(&server.first_token, "COMPLETE")
}

#[test]
fn files_that_are_not_regular_or_have_a_wrong_size_are_rejected_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let link = folder.path().join("link");
    symlink(&fifo, &link).unwrap();
    let mut refused = vec![
        (fifo.as_path(), "named pipe"),
        (&link, "named pipe"),
        (&socket, "socket"),
        (folder.path(), "folder"),
        (Path::new("/dev/null"), "device"),
        (Path::new("/nowhere/at/all"), "No such file"),
    ];
    if cfg!(target_os = "linux") {
        refused.push((Path::new("/proc/self/status"), "has 0 bytes, but it has more"));
        refused.push((Path::new("/sys/kernel/mm/transparent_hugepage/enabled"), "but it has fewer"));
    }
    for (path, why) in refused.into_iter().filter(|(path, _)| path.exists() || path.starts_with("/nowhere")) {
        let output = upload(&server, path, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", path.display());
        assert!(stderr(&output).contains(why), "{}: {}", path.display(), stderr(&output));
    }
    assert!(stored(&server).is_empty());
}

#[test]
fn a_file_with_any_name_is_uploaded_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let names: [(&[u8], &str); 6] = [
        (b"a\tb.bin", "a%09b.bin"),
        (b"a\nb.bin", "a%0Ab.bin"),
        (b"  ", "%20%20"),
        (b" padded ", " padded "),
        (b"caf\xe9.bin", "caf%E9.bin"),
        ("e\u{301}te\u{301}.bin".as_bytes(), "\u{e9}t\u{e9}.bin"),
    ];
    for (index, (name, shown)) in names.into_iter().enumerate() {
        let file = folder.path().join(OsStr::from_bytes(name));
        fs::write(&file, file_bytes(1_000 + index)).unwrap();
        let output = upload(&server, &file, &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let sessions = stored(&server);
        assert_eq!((sessions.len(), sessions[0].file.original_filename.as_str()), (index + 1, shown));
        assert!(stderr(&upload(&server, &file, &[])).contains("Already stored"));
    }
    // The same name in the other Unicode normal form, as another system writes it.
    let composed = folder.path().join("\u{e9}t\u{e9}.bin");
    fs::write(&composed, file_bytes(1_005)).unwrap();
    assert!(stderr(&upload(&server, &composed, &[])).contains("Already stored"));
}

#[test]
fn a_symbolic_link_is_stored_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    fs::write(folder.path().join("target.bin"), file_bytes(10)).unwrap();
    let link = folder.path().join("link.txt");
    symlink("target.bin", &link).unwrap();
    assert!(upload(&server, &link, &[]).status.success());
    assert_eq!(stored(&server)[0].file.original_filename, "link.txt");
}

#[test]
fn the_options_set_name_type_and_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = folder.path().join("a.bin");
    fs::write(&file, file_bytes(10)).unwrap();
    let more = ["--name", "b.mp4", "--content-type", "video/mp4", "--metadata", "album=2026", "--metadata", "note=a=b"];
    let output = upload(&server, &file, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let id = stored(&server).remove(0).session_id;
    let (status, body) = server.get(&format!("/uploads/sessions/{id}"));
    let session: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(session["file"]["original_filename"], "b.mp4");
    assert_eq!(session["file"]["content_type"], "video/mp4");
    assert_eq!(session["file"]["metadata"], serde_json::json!({ "album": "2026", "note": "a=b" }));
    for (option, value) in [("--metadata", "novalue"), ("--metadata", "=x")] {
        assert_eq!(upload(&server, &file, &[option, value]).status.code(), Some(2));
    }
    let output = upload(&server, &file, &["--new", "--content-type", "nonsense"]);
    assert!(stderr(&output).contains("content_type"), "{}", stderr(&output));
}

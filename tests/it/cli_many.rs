//! `partway upload` with several files and with folders.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::Output,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Cli, Server, exchange, file_bytes, http_proxy, page};

const SETTINGS: [(&str, &str); 1] = [("PARTWAY_CHUNK_SIZE", "65536")];

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON of each line.
fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The value of a field in each line, in order.
fn sorted<'a>(lines: &'a [Value], result: &str, field: &str) -> Vec<&'a str> {
    let of_result = lines.iter().filter(|line| line["result"] == result);
    let mut values: Vec<_> = of_result.map(|line| line[field].as_str().unwrap_or("null")).collect();
    values.sort_unstable();
    values
}

/// The paths in the metadata of the stored files.
fn stored_paths(server: &Server) -> Vec<String> {
    let (_, body) = server.get("/files?status=STORED&limit=100");
    let body: Value = serde_json::from_str(&body).unwrap();
    let files = body["files"].as_array().unwrap();
    let mut paths: Vec<_> = files.iter().map(|file| file["metadata"]["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

/// Files with the same and with different bytes, in a folder and in one inside it.
fn photos(folder: &Path) -> Vec<&'static str> {
    let photos = folder.join("photos");
    fs::create_dir_all(photos.join("2026/empty")).unwrap();
    let names: [&[u8]; 7] = [
        b"a.bin",
        b"2026/a.bin",
        b"empty",
        b"2026/empty.bin",
        b".hidden",
        b"caf\xe9.txt",
        "2026/e\u{301}\tx".as_bytes(),
    ];
    for name in names {
        let size = if name.ends_with(b"a.bin") { 200_000 } else { usize::from(name == b".hidden") };
        fs::write(photos.join(OsStr::from_bytes(name)), file_bytes(size)).unwrap();
    }
    vec![
        "photos/.hidden",
        "photos/2026/a.bin",
        "photos/2026/empty.bin",
        "photos/2026/\u{e9}%09x",
        "photos/a.bin",
        "photos/caf%E9.txt",
        "photos/empty",
    ]
}

#[test]
fn a_folder_is_uploaded_with_the_path_of_each_file_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let paths = photos(folder.path());
    let upload = |args: &[&str]| {
        let args = [&["upload", "--recursive"], args].concat();
        Cli::new(&args).in_folder(folder.path()).to(&server, &server.first_token).run()
    };
    let first = upload(&["photos", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert_eq!(sorted(&lines(&first), "stored", "path"), paths);
    assert_eq!(stored_paths(&server), paths);
    for place in ["photos", "./photos/", "photos/."] {
        let again = upload(&[place, "--json"]);
        assert_eq!(sorted(&lines(&again), "already_stored", "path"), paths, "{place}: {}", stderr(&again));
    }
    assert_eq!(stored_paths(&server), paths, "nothing is stored twice");
    let text = upload(&["photos"]);
    let printed = String::from_utf8(text.stdout).unwrap();
    assert_eq!(printed.lines().count(), paths.len());
    assert!(printed.lines().any(|line| line.len() > 38 && line.ends_with("  photos/2026/a.bin")), "{printed}");
    assert!(stderr(&upload(&["photos"])).ends_with("7 already stored\n"));
}

#[test]
fn a_folder_without_a_name_gives_paths_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    photos(folder.path());
    let inside = folder.path().join("photos");
    let upload = Cli::new(&["upload", "-r", "."]).in_folder(&inside).to(&server, &server.first_token).run();
    assert!(upload.status.success(), "{}", stderr(&upload));
    assert!(stored_paths(&server).iter().all(|path| !path.starts_with("photos")));
    assert!(stored_paths(&server).contains(&"2026/a.bin".to_owned()));
}

#[test]
fn links_and_pipes_in_a_folder_are_skipped_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(folder.path().join("elsewhere"), "x").unwrap();
    symlink("../elsewhere", photos.join("link")).unwrap();
    symlink("..", photos.join("loop")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, photos.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let upload = |args: &[&str]| {
        let args = [&["upload", "-r", "photos", "--json"], args].concat();
        Cli::new(&args).in_folder(folder.path()).to(&server, &server.first_token).run()
    };
    let skipping = upload(&[]);
    assert_eq!(skipping.status.code(), Some(0), "{}", stderr(&skipping));
    assert_eq!(sorted(&lines(&skipping), "skipped", "source"), ["photos/link", "photos/loop", "photos/pipe"]);
    assert!(stderr(&skipping).contains("skipped photos/link: a symbolic link\n"), "{}", stderr(&skipping));
    let following = upload(&["--follow-links"]);
    assert_eq!(following.status.code(), Some(3), "{}", stderr(&following));
    assert!(sorted(&lines(&following), "stored", "path").contains(&"photos/link"), "{}", stderr(&following));
    assert!(
        stderr(&following).contains("photos/loop/photos: a symbolic link that leads to a folder that contains it")
            || stderr(&following).contains("photos/loop: a symbolic link that leads"),
        "{}",
        stderr(&following)
    );
}

#[test]
fn a_file_that_fails_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    photos(folder.path());
    let upload = |args: &[&str]| {
        let args = [&["upload", "--json"], args].concat();
        Cli::new(&args).in_folder(folder.path()).to(&server, &server.first_token).run()
    };
    let some = upload(&["missing", "photos", "photos/a.bin", "photos/empty", "./photos/a.bin"]);
    assert_eq!(some.status.code(), Some(3), "{}", stderr(&some));
    assert_eq!(sorted(&lines(&some), "failed", "source"), ["missing", "photos"]);
    assert_eq!(sorted(&lines(&some), "stored", "source"), ["photos/a.bin", "photos/empty"]);
    let failed = lines(&some).into_iter().find(|line| line["source"] == "missing").unwrap();
    assert_eq!(failed["error"]["exit_code"], 1);
    for said in ["missing: No such file", "photos: this is a folder; add --recursive", "./photos/a.bin is given twice"]
    {
        assert!(stderr(&some).contains(said), "{said}: {}", stderr(&some));
    }
    let all = upload(&["missing", "/dev/null"]);
    assert_eq!(all.status.code(), Some(1), "{}", stderr(&all));
    let none = upload(&["-r", "photos/2026/empty"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0), "{}", stderr(&none));
}

#[test]
fn an_error_that_every_file_would_have_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    photos(folder.path());
    let upload = |url: &str, token: &str, more: &[&str]| {
        let args = [&["upload", "-r", "photos", "--json", "--parallel", "1"], more].concat();
        let upload = Cli::new(&args).in_folder(folder.path()).env("PARTWAY_SERVER", url).env("PARTWAY_TOKEN", token);
        upload.run()
    };
    let wrong_token = upload(&server.url, "pw_wrong", &[]);
    assert_eq!(wrong_token.status.code(), Some(5), "{}", stderr(&wrong_token));
    assert_eq!(sorted(&lines(&wrong_token), "failed", "source").len(), 1);
    assert_eq!(sorted(&lines(&wrong_token), "not_tried", "source").len(), 6);
    // The server goes away after the first file.
    let finalized = AtomicUsize::new(0);
    let url = http_proxy(&server.address, move |request| {
        let is_over = finalized.load(Ordering::Relaxed) > 0;
        finalized.fetch_add(usize::from(request.contains("/finalize ")), Ordering::Relaxed);
        is_over.then(|| page(503, ""))
    });
    let gone = upload(&url, &server.first_token, &["--retry-for", "1s"]);
    assert_eq!(gone.status.code(), Some(6), "{}", stderr(&gone));
    let result = |result| sorted(&lines(&gone), result, "source").len();
    assert_eq!((result("stored"), result("failed"), result("not_tried")), (1, 1, 5));
}

#[test]
fn a_file_that_changes_meanwhile_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &SETTINGS);
    let (changing, still) = (folder.path().join("changing"), folder.path().join("still"));
    fs::write(&changing, file_bytes(200_000)).unwrap();
    fs::write(&still, file_bytes(3)).unwrap();
    let path = changing.clone();
    let url = http_proxy(&server.address, move |request| {
        if request.starts_with("PUT ") && request.contains("/parts/2 ") {
            // The first part has been sent before.
            let mut bytes = fs::read(&path).unwrap();
            bytes[0] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        None
    });
    let upload = |files: &[&Path]| {
        let upload = Cli::new(&["upload", "--parallel", "1"]).env("PARTWAY_SERVER", &url);
        let upload = upload.env("PARTWAY_TOKEN", &server.first_token);
        files.iter().fold(upload, |upload, file| upload.arg(file.as_os_str())).run()
    };
    let both = upload(&[&changing, &still]);
    assert_eq!(both.status.code(), Some(3), "{}", stderr(&both));
    assert!(stderr(&both).contains("changing: the file changed during the upload"), "{}", stderr(&both));
    fs::write(&changing, file_bytes(200_001)).unwrap();
    assert_eq!(upload(&[&changing]).status.code(), Some(7));
    assert_eq!(server.sessions(&server.first_token, "COMPLETE").len(), 1);
}

#[test]
fn a_folder_goes_on_after_client_and_server_were_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &SETTINGS);
    let (token, address) = (server.first_token.clone(), server.address.clone());
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for number in 0..60 {
        fs::write(photos.join(format!("{number}.bin")), file_bytes(number * 5_000)).unwrap();
    }
    // The proxy holds each request after the hundredth.
    let ((held, is_held), seen) = (mpsc::channel(), AtomicUsize::new(0));
    let held = Mutex::new(held);
    let url = http_proxy(&address, move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) >= 100 {
            let _ = held.lock().unwrap().send(());
            loop {
                std::thread::park();
            }
        }
        None
    });
    let upload = || Cli::new(&["upload", "-r", "photos", "--json"]).in_folder(folder.path());
    let mut running = upload().env("PARTWAY_SERVER", &url).env("PARTWAY_TOKEN", &token).spawn();
    is_held.recv_timeout(Duration::from_mins(1)).unwrap();
    kill_process(Pid::from_child(&running), Signal::KILL).unwrap();
    running.wait().unwrap();
    server.kill();
    let server = Server::start_on(&address, &data, &SETTINGS);
    let resumed = upload().to(&server, &token).run();
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    let result = |result| sorted(&lines(&resumed), result, "path").len();
    assert!(result("already_stored") > 0 && result("stored") > 0);
    assert_eq!(result("already_stored") + result("stored"), 60);
    let (_, body) = exchange(&address, "GET", "/uploads/sessions?limit=100", &token, b"").unwrap();
    let sessions: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 60, "no file has two sessions");
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let cases: [(&[&str], &str); 5] = [
        (&["a", "b", "--name", "x"], "--name is for one file"),
        (&["-r", "a", "--name", "x"], "--name is for one file"),
        (&["-r", "a", "--metadata", "path=x"], "the metadata `path`"),
        (&["a", "-L"], "--recursive"),
        (&["a", "-"], "standard input (-) must be the only file"),
    ];
    for (args, said) in cases {
        let refused = Cli::new(&[&["upload", "--token", "x"], args].concat()).run();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(stderr(&refused).contains(said), "{args:?}: {}", stderr(&refused));
    }
}

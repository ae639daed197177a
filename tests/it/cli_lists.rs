//! `partway ls`, `rm` and `abort`.

use std::{fs, process::Output};

use partway::client::{Client, NewUpload};

use crate::support::{Cli, Server, file_bytes};

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_pages_are_listed_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let run = |args: &[&str]| Cli::new(args).to(&server, &server.first_token).run();
    let client = Client::new(&server.url, &server.first_token).unwrap();
    let mut ids = Vec::new();
    for number in 0..120 {
        let new = client.create(&NewUpload::named(&format!("{}", number % 2), 10, &format!("{number}"))).await.unwrap();
        ids.insert(0, new.session_id);
    }
    let listed = stdout(&run(&["ls", "--sessions", "--quiet"]));
    assert_eq!(listed.lines().collect::<Vec<_>>(), ids, "newest first");
    assert_eq!(stdout(&run(&["ls", "--sessions", "-q", "--name", "1"])).lines().count(), 60);
    assert_eq!(stdout(&run(&["ls", "--sessions", "-q", "--limit", "101"])).lines().count(), 101);
    assert_eq!(stdout(&run(&["ls", "--sessions", "-q", "--limit", "0"])).lines().count(), 0);
    let table = stdout(&run(&["ls", "--sessions", "--limit", "1"]));
    assert!(table.starts_with("SESSION_ID "), "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("{}  INIT              0 %", ids[0])), "{table}");

    let few: Vec<&str> = ids[..3].iter().map(String::as_str).collect();
    let aborted = run(&[&["abort"], few.as_slice()].concat());
    assert_eq!((stdout(&aborted).as_str(), aborted.status.code()), ("", Some(0)));
    assert_eq!(stdout(&run(&["ls", "--sessions", "-q"])).lines().count(), 117);
    assert_eq!(stdout(&run(&["ls", "--sessions", "-q", "--all"])).lines().count(), 120);
    let partly = run(&["abort", "--json", few[0], "nonsense", ids[5].as_str()]);
    assert_eq!(partly.status.code(), Some(3));
    let lines = String::from_utf8(partly.stdout).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let results: Vec<_> = lines.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["aborted", "failed", "aborted"]);
    assert_eq!((&lines[1]["error"]["code"], &lines[1]["error"]["exit_code"]), (&"NOT_FOUND".into(), &4.into()));
    assert_eq!(run(&["abort", "nonsense"]).status.code(), Some(4));
}

#[test]
fn files_are_listed_with_their_paths_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let run = |args: &[&str]| Cli::new(args).in_folder(folder.path()).to(&server, &server.first_token).run();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/sea.jpg"), file_bytes(2_000)).unwrap();
    fs::write(folder.path().join("b.bin"), "x").unwrap();
    let photo = stdout(&run(&["upload", "-r", "-q", "photos"]));
    // A client may send any metadata, which must not control the terminal.
    let body = br#"{"original_filename": "c", "total_size_bytes": 0, "auto_finalize": true,
        "metadata": {"path": "\u001b[2J\nc", "huge": 1e999}}"#;
    assert_eq!(server.post("/uploads/sessions", body).0, 201);
    let table = stdout(&run(&["ls"]));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().nth(1).unwrap().ends_with("  STORED     %1B[2J%0Ac"), "{table}");
    let row = table.lines().nth(2).unwrap();
    assert!(row.starts_with(photo.trim()) && row.ends_with("photos/sea.jpg") && row.contains("1.95 KiB"), "{row}");
    let json = stdout(&run(&["ls", "--json", "--name", "sea.jpg"]));
    let (_, record) = server.get(&format!("/files/{}", photo.trim()));
    assert_eq!(json.trim_end(), record, "the JSON is that of the API");
    assert!(stdout(&run(&["ls", "--json"])).contains("1e999"));

    assert_eq!(run(&["rm", photo.trim(), "nonsense"]).status.code(), Some(3));
    assert_eq!(stdout(&run(&["ls", "-q"])).lines().count(), 1);
    assert!(stdout(&run(&["ls", "--all"])).contains("  DELETED    photos/sea.jpg"));
}

//! `partway download`.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::support::{Cli, CuttingProxy, Server, exchange, file_bytes, sha256_hex};

const SIZE: usize = 1_000_000;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server with a file, and the id of the file.
struct Stored {
    folder: tempfile::TempDir,
    server: Server,
    id: String,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("data"), &[("PARTWAY_CHUNK_SIZE", "262144")]);
        let bytes = file_bytes(SIZE);
        let source = folder.path().join("source");
        fs::write(&source, &bytes).unwrap();
        let upload = Cli::new(&["upload", "--quiet", "--name", name]).arg(source.as_os_str());
        let uploaded = upload.to(&server, &server.first_token).run();
        let id = String::from_utf8(uploaded.stdout).unwrap().trim().to_owned();
        assert_eq!(id.len(), 36, "{}", String::from_utf8_lossy(&uploaded.stderr));
        fs::create_dir(folder.path().join("here")).unwrap();
        Self { folder, server, id, bytes }
    }

    fn here(&self) -> std::path::PathBuf {
        self.folder.path().join("here")
    }

    /// The file that grows during a download.
    fn part(&self) -> std::path::PathBuf {
        self.here().join(format!("partway-{}.part", self.id))
    }

    fn download(&self, args: &[&str]) -> Output {
        self.download_from(&self.server.url, args)
    }

    fn download_from(&self, url: &str, args: &[&str]) -> Output {
        let args = [&["download", self.id.as_str()], args].concat();
        let download = Cli::new(&args).in_folder(&self.here()).env("PARTWAY_SERVER", url);
        download.env("PARTWAY_TOKEN", &self.server.first_token).run()
    }

    /// Checks that the file is there, and nothing else.
    fn assert_only(&self, name: &str) {
        assert!(fs::read(self.here().join(name)).unwrap() == self.bytes);
        assert_eq!(names(&self.here()), [name]);
        fs::remove_file(self.here().join(name)).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_file_is_downloaded_to_its_name_a_path_a_folder_or_standard_output() {
    let stored = Stored::new("großes bild.png");
    let own_name = stored.download(&[]);
    assert_eq!(String::from_utf8_lossy(&own_name.stdout), "großes bild.png\n", "{}", stderr(&own_name));
    stored.assert_only("großes bild.png");
    let path = json(&stored.download(&["-o", "copy", "--json"]));
    assert_eq!((path["target"].as_str(), path["size_bytes"].as_u64()), (Some("copy"), Some(SIZE as u64)));
    assert_eq!(path["sha256"], sha256_hex(&stored.bytes));
    stored.assert_only("copy");
    assert!(stored.download(&["-o", "."]).status.success());
    stored.assert_only("großes bild.png");
    let streamed = stored.download(&["-o", "-"]);
    assert!(streamed.status.success() && streamed.stdout == stored.bytes, "{}", stderr(&streamed));
    assert_eq!(names(&stored.here()), [] as [&str; 0]);
    assert_eq!(stored.download(&["-o", "-", "--json"]).status.code(), Some(2));
    for (path, said) in [("missing/", "missing/ is no folder"), ("missing/x", "missing: No such file")] {
        let refused = stored.download(&["-o", path]);
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_on_request_and_a_device_never() {
    let stored = Stored::new("a.bin");
    let target = stored.here().join("a.bin");
    fs::write(&target, "mine").unwrap();
    let refused = stored.download(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("a.bin is there already; add --force"), "{}", stderr(&refused));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert!(stored.download(&["--force"]).status.success());
    stored.assert_only("a.bin");
    let device = stored.download(&["--force", "-o", "/dev/null"]);
    assert!(stderr(&device).contains("/dev/null is there, and is no regular file"), "{}", stderr(&device));
}

#[test]
fn the_name_of_a_file_does_not_lead_out_of_the_folder() {
    for name in ["../evil", "/tmp/evil", "..", "-", "a/b"] {
        let stored = Stored::new(name);
        let refused = stored.download(&[]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains(&format!("the name of the file, {name}, is not one")),
            "{}",
            stderr(&refused)
        );
        assert!(stored.download(&["-o", "x"]).status.success());
        stored.assert_only("x");
    }
}

#[test]
fn a_download_goes_on_after_breaks_from_the_byte_where_it_stopped() {
    let stored = Stored::new("a.bin");
    let proxy = CuttingProxy::start(&stored.server.address, |number| {
        [Some(300_000), Some(0), Some(200_000)].get(number).copied()?
    });
    let done = json(&stored.download_from(&proxy.url, &["--json"]));
    assert_eq!(done["resumed_bytes"], 0, "by this run");
    stored.assert_only("a.bin");
    let heads = proxy.heads();
    assert_eq!(heads.len(), 4);
    assert!(!heads[0].contains("range:"));
    for (head, from) in heads[1..].iter().zip([300_000, 300_000, 500_000]) {
        let conditions = format!("range: bytes={from}-\r\n");
        assert!(head.contains(&conditions) && head.contains(&format!("if-range: \"{}\"", stored.id)), "{head}");
    }
    // Also to standard output.
    let proxy = CuttingProxy::start(&stored.server.address, |number| (number == 0).then_some(300_000));
    let streamed = stored.download_from(&proxy.url, &["-o", "-"]);
    assert!(streamed.status.success() && streamed.stdout == stored.bytes, "{}", stderr(&streamed));
}

#[test]
fn a_later_run_goes_on_after_the_bytes_of_an_earlier_one() {
    let stored = Stored::new("a.bin");
    let proxy = CuttingProxy::start(&stored.server.address, |_| Some(300_000));
    let cut = stored.download_from(&proxy.url, &["--retry-for", "0s"]);
    assert_eq!(cut.status.code(), Some(6), "{}", stderr(&cut));
    assert_eq!(fs::metadata(stored.part()).unwrap().len(), 300_000);
    let proxy = CuttingProxy::start(&stored.server.address, |_| None);
    let done = json(&stored.download_from(&proxy.url, &["--json", "-o", "other name"]));
    assert_eq!(done["resumed_bytes"], 300_000);
    stored.assert_only("other name");
    assert!(proxy.heads()[0].contains("range: bytes=300000-"), "{:?}", proxy.heads());
}

#[test]
fn wrong_bytes_of_an_earlier_run_are_received_again() {
    let stored = Stored::new("a.bin");
    // Other bytes, too many bytes, and as many bytes as the file has.
    for length in [300_000, SIZE + 1, SIZE] {
        fs::write(stored.part(), vec![7; length]).unwrap();
        let done = json(&stored.download(&["--json"]));
        assert_eq!(done["resumed_bytes"], 0);
        stored.assert_only("a.bin");
    }
    // All bytes are there already.
    fs::write(stored.part(), &stored.bytes).unwrap();
    assert_eq!(json(&stored.download(&["--json"]))["resumed_bytes"], SIZE);
    stored.assert_only("a.bin");
}

#[test]
fn content_that_has_another_tag_meanwhile_is_received_from_its_beginning() {
    let stored = Stored::new("a.bin");
    let (address, token, path) =
        (stored.server.address.clone(), stored.server.first_token.clone(), format!("/files/{}/sha256", stored.id));
    let cut_and_compute = move |number| {
        // The computed SHA-256 becomes the tag of the content.
        if number == 1 {
            assert_eq!(exchange(&address, "POST", &path, &token, b"").unwrap().0, 200);
        }
        (number == 0).then_some(300_000)
    };
    let proxy = CuttingProxy::start(&stored.server.address, cut_and_compute);
    let done = stored.download_from(&proxy.url, &[]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("from its beginning"), "{}", stderr(&done));
    stored.assert_only("a.bin");
    // Standard output has the first bytes already, and now the tag is the SHA-256 of the file for good.
    let proxy = CuttingProxy::start(&stored.server.address, |number| (number == 0).then_some(300_000));
    assert!(stored.download_from(&proxy.url, &["-o", "-"]).status.success());
}

#[test]
fn bytes_without_the_digest_of_the_file_are_not_kept() {
    let stored = Stored::new("a.bin");
    let on_disk = stored.folder.path().join("data/files/stored").join(&stored.id);
    let mut damaged = stored.bytes.clone();
    damaged[SIZE / 2] ^= 1;
    fs::write(on_disk, damaged).unwrap();
    let refused = stored.download(&["--json"]);
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(error["error"]["exit_code"], 7);
    assert_eq!(names(&stored.here()), [] as [&str; 0]);
    assert_eq!(stored.download(&["-o", "-"]).status.code(), Some(7));
}

#[test]
fn a_file_that_is_not_there_is_not_found() {
    let stored = Stored::new("a.bin");
    let delete = || Cli::new(&["rm", &stored.id]).to(&stored.server, &stored.server.first_token).run();
    assert!(delete().status.success() && delete().status.success(), "deleting is repeatable");
    let deleted = stored.download(&[]);
    assert_eq!(deleted.status.code(), Some(4));
    assert!(stderr(&deleted).contains("its status is DELETED"), "{}", stderr(&deleted));
    let unknown = Cli::new(&["download", "nonsense"]).to(&stored.server, &stored.server.first_token).run();
    assert_eq!(unknown.status.code(), Some(4));
    assert!(stderr(&unknown).contains("NOT_FOUND"));
    assert_eq!(names(&stored.here()), [] as [&str; 0]);
}

//! `partway owner`: limits of owners, from the command line.

use std::process::Output;

use crate::support::{Cli, Server, exchange};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn limits_apply_to_the_next_session_of_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let token = Cli::new(&["token", "create", "--owner", "ann", "--data", data.to_str().unwrap()]).run();
    let token = text(&token.stdout).trim().to_owned();
    let owner =
        |args: &[&str]| -> Output { Cli::new(&[&["owner"], args, &["--data", data.to_str().unwrap()]].concat()).run() };
    let me = || exchange(&server.address, "GET", "/me", &token, b"").unwrap().1;
    let create = |size: u64| {
        let body = format!(r#"{{ "original_filename": "a", "total_size_bytes": {size} }}"#);
        exchange(&server.address, "POST", "/uploads/sessions", &token, body.as_bytes()).unwrap().0
    };

    let set = owner(&["set", "ann", "--max-bytes", "50KiB", "--max-open-sessions", "2"]);
    assert!(set.status.success(), "{}", text(&set.stderr));
    assert!(text(&set.stdout).contains("ann"), "{}", text(&set.stdout));
    assert!(me().contains(r#""bytes_limit":51200"#), "{}", me());
    assert_eq!([create(51_201), create(51_200), create(1), create(0), create(0)], [413, 201, 413, 201, 429]);

    let listed = text(&owner(&["list"]).stdout);
    let line = listed.lines().find(|line| line.starts_with("ann ")).unwrap();
    let columns: Vec<_> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    assert_eq!(columns, ["ann", "50.00 KiB", "50.00 KiB", "2", "2"], "{listed}");

    assert!(owner(&["set", "ann", "--max-bytes", "unlimited"]).status.success());
    assert!(me().contains(r#""bytes_limit":null"#), "{}", me());
    assert_eq!(create(1), 429, "the other limit stays");
    assert!(owner(&["set", "ann", "--max-open-sessions", "default"]).status.success());
    assert_eq!(create(51_201), 201);
    assert!(owner(&["set", "ann", "--max-bytes", "default"]).status.success());

    for (args, message) in [
        (&["set", "ann"][..], "--max-bytes"),
        (&["set", "ann", "--max-bytes", "much"], "50GiB"),
        (&["set", "ann", "--max-bytes", "-1"], "--max-bytes"),
        (&["set", "ann", "--max-open-sessions", "many"], "`default`"),
        (&["set", "no name", "--max-bytes", "1"], "owner"),
        (&["set", "--max-bytes", "1"], "NAME"),
    ] {
        let refused = owner(args);
        assert!(!refused.status.success(), "{args:?}");
        assert!(text(&refused.stderr).contains(message), "{args:?}: {}", text(&refused.stderr));
    }
}

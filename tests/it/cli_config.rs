//! `partway config`: the value and the source of each setting.

use std::fs;

use crate::support::Cli;

#[test]
fn config_shows_each_setting_with_its_source_and_hides_passwords() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("partway.toml"), "max_parts = 9\n").unwrap();
    let shown = Cli::new(&["config", "--data", "elsewhere"])
        .in_folder(folder.path())
        .env("PARTWAY_DATABASE", "postgres://me:secret@host/db")
        .env("PARTWAY_TOKEN", "pw_client")
        .run();
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        "data = \"elsewhere\" # --data",
        "max_parts = 9 # partway.toml",
        "database = \"postgres://me:***@host/db\" # PARTWAY_DATABASE",
        "sync = \"always\" # default",
    ] {
        assert!(lines.iter().any(|line| line.join(" ") == expected), "no {expected} in:\n{text}");
    }
    assert!(!text.contains("secret") && !text.contains("pw_client"), "{text}");
}

#[test]
fn config_check_names_the_invalid_setting_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, value: &str| {
        Cli::new(&["config", "check"]).in_folder(folder.path()).on_sqlite().env(name, value).run()
    };
    assert!(check("PARTWAY_CHUNK_SIZE", "6MiB").status.success());
    for (name, value, named) in [
        ("PARTWAY_CHUNK_SIZE", "0", "chunk_size"),
        ("PARTWAY_CHUNKSIZE", "1", "PARTWAY_CHUNKSIZE"),
        ("PARTWAY_STORAGE", "ftp://x", "storage"),
        ("PARTWAY_CORS_ORIGINS", "https://*.example.org", "cors_origins"),
        ("PARTWAY_GRAPHQL_TRUSTED_ONLY", "true", "graphql_trusted_only"),
    ] {
        let refused = check(name, value);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(named), "{refused:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no file was created");
    std::os::unix::fs::symlink("nowhere", folder.path().join("partway.toml")).unwrap();
    let refused = check("PARTWAY_CHUNK_SIZE", "6MiB");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("partway.toml"), "{refused:?}");
}

//! `--json` and `--quiet` of the commands that need no server.

use std::process::Output;

use serde_json::Value;

use crate::support::Cli;

fn lines(output: &Output) -> Vec<Value> {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

#[test]
fn every_line_of_standard_output_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let run = |args: &[&str]| Cli::new(&[args, &["--json", "--data", data]].concat()).run();
    let all = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        lines(&output)
    };
    let one = |args: &[&str]| {
        let mut lines = all(args);
        assert_eq!(lines.len(), 1, "{args:?}: {lines:?}");
        lines.remove(0)
    };
    assert_eq!(one(&["migrate"])["result"], "up_to_date");
    let token = one(&["token", "create", "--owner", "ann", "--name", "x"]);
    assert!(token["token"].as_str().unwrap().starts_with("pw_"));
    let listed = one(&["token", "list"]);
    assert_eq!((&listed["id"], &listed["owner"], &listed["revoked_at"]), (&token["id"], &"ann".into(), &Value::Null));
    let id = token["id"].as_str().unwrap();
    assert_eq!(one(&["token", "revoke", id])["result"], "revoked");
    let again = run(&["token", "revoke", id]);
    assert_eq!(again.status.code(), Some(4));
    assert_eq!(lines(&again)[0]["error"]["code"], "NOT_FOUND");

    let owner = one(&["owner", "set", "ann", "--max-bytes", "1KiB"]);
    assert_eq!(
        (&owner["owner"], &owner["bytes_limit"], &owner["bytes_used"]),
        (&"ann".into(), &1024.into(), &0.into())
    );
    assert_eq!(one(&["owner", "list"]), owner);

    let webhook = one(&["webhook", "add", "https://example.org/hook?key=1"]);
    let id = webhook["id"].as_str().unwrap();
    let listed = one(&["webhook", "list"]);
    assert_eq!((&listed["id"], &listed["url"]), (&webhook["id"], &"https://example.org/hook?…".into()));
    assert_ne!(one(&["webhook", "rotate", id])["secret"], webhook["secret"]);
    assert_eq!(all(&["webhook", "dead"]), [] as [Value; 0]);
    assert_eq!(one(&["webhook", "replay"])["messages"], 0);
    assert_eq!(one(&["webhook", "remove", id])["result"], "removed");

    let settings = all(&["config"]);
    assert!(settings.len() > 30 && settings.iter().any(|setting| setting["name"] == "data"));
    assert_eq!(one(&["config", "check"])["result"], "valid");
    assert_eq!(one(&["check"])["kind"], "summary");
    assert!(one(&["adopt"])["id"].is_string());
}

#[test]
fn quiet_prints_ids_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let run = |args: &[&str]| {
        let output = Cli::new(&[args, &["-q", "--data", data]].concat()).run();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["migrate"]), "");
    assert!(run(&["token", "create", "--owner", "ann"]).starts_with("pw_"));
    let id = run(&["token", "list"]);
    assert_eq!(id.trim_end().len(), 36, "{id}");
    assert_eq!(run(&["token", "revoke", id.trim_end()]), "");
    assert_eq!(run(&["owner", "set", "ann", "--max-bytes", "1KiB"]), "ann\n");
}

//! Runs the README's examples as printed.

use std::process::Command;

use crate::support::Server;

/// The shell blocks that need a running server.
fn examples() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.contains("curl ")).collect()
}

#[test]
fn the_curl_examples_work_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let examples = examples();
    assert!(examples.len() >= 3, "the README has examples of REST, GraphQL and a download");
    let script = examples.join("\n").replace("http://127.0.0.1:8080", &server.url);
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PARTWAY_TOKEN", &server.first_token)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "\"received_parts\":[\"2\"]",
        "\"PARTS_MISSING\"",
        "\"receivedPartsText\":\"2\"",
        "\"COMPLETE\"",
        "\n100\n",
        "\"file.deleted\"",
    ] {
        assert!(printed.contains(expected), "{expected} is not in\n{printed}");
    }
}

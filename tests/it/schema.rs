//! The schema in the repository is the schema of the binary.

use crate::support::Cli;

#[test]
fn schema_graphql_is_the_output_of_the_binary() {
    let printed = String::from_utf8(Cli::new(&["schema"]).run().stdout).unwrap();
    let kept = include_str!("../../schema.graphql");
    assert!(printed == kept, "schema.graphql is out of date; run: cargo run -- schema > schema.graphql");
}

#[test]
fn a_count_of_bytes_is_never_an_int() {
    let schema = include_str!("../../schema.graphql");
    assert!(schema.contains("sizeBytes: BigInt!"));
    let ints = schema.lines().filter(|line| line.to_lowercase().contains("bytes") && line.contains(": Int"));
    assert_eq!(ints.collect::<Vec<_>>(), [""; 0]);
}

//! What the packages expect of the server: the settings that they bring, and what a supervisor waits for.
//!
//! Does not test the packages themselves: `packaging/check` builds, installs and runs them.

use std::{os::unix::net::UnixDatagram, time::Duration};

use figment::{
    Figment,
    providers::{Format, Toml},
    value::Dict,
};
use partway::config::Config;

use crate::support::Server;

/// The settings in a `partway.toml`. Panics if the server refuses them.
fn settings(file: &str) -> Config {
    let values: Dict = Figment::from(Toml::string(file)).extract().unwrap();
    Config::from_defaults(&values).unwrap()
}

/// The number of seconds after the only `key` of a unit or a manifest.
fn seconds(text: &str, key: &str) -> Duration {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = values.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(values.next(), None);
    Duration::from_secs(value.trim().parse().unwrap())
}

#[test]
fn a_supervisor_waits_longer_than_the_server_takes_to_stop() {
    for (file, wait) in [
        (
            include_str!("../../packaging/debian/partway.toml"),
            seconds(include_str!("../../packaging/debian/partway.service"), "TimeoutStopSec="),
        ),
        (
            include_str!("../../packaging/kubernetes/partway.toml"),
            seconds(include_str!("../../packaging/kubernetes/deployment.yaml"), "terminationGracePeriodSeconds:"),
        ),
    ] {
        let connections = settings(file).connections;
        let stop = connections.drain_delay + connections.shutdown_timeout;
        assert!(wait >= stop + Duration::from_secs(5), "{wait:?} for {stop:?}");
    }
}

#[test]
fn systemd_learns_that_the_server_listens() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let server = Server::start(folder.path(), &[("NOTIFY_SOCKET", name.to_str().unwrap())]);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii_end(), b"READY=1");
    assert_eq!(server.get("/ready").0, 200);
}

//! What the packages expect of the server: what a supervisor waits for.

use std::{os::unix::net::UnixDatagram, time::Duration};

use crate::support::Server;

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

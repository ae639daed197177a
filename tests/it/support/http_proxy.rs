//! What stands between a client and a server: it answers some requests itself, and passes the others on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

/// Serves HTTP/1.1, one request a connection. `answer` sees the request's first line and gives the whole answer, or nothing
/// if `target`, an address, shall. Answers its own URL. Ends with the process.
pub(crate) fn http_proxy(target: &str, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (target, answer) = (target.to_owned(), Arc::new(answer));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (target, answer) = (target.clone(), Arc::clone(&answer));
            // A client that goes away is no fault of the proxy's.
            std::thread::spawn(move || socket.and_then(|socket| serve(socket, &target, &*answer)));
        }
    });
    url
}

fn serve(mut near: TcpStream, target: &str, answer: &dyn Fn(&str) -> Option<String>) -> std::io::Result<()> {
    let (mut reader, mut lines, mut length) = (BufReader::new(near.try_clone()?), Vec::new(), 0);
    if reader.fill_buf()?.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        // Another protocol, to which servers answer in their own.
        return near.write_all(page(400, "").as_bytes());
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if let Some(answer) = answer(lines[0].trim_end()) {
        return near.write_all(answer.as_bytes());
    }
    let mut far = TcpStream::connect(target)?;
    far.write_all(format!("{}Connection: close\r\n\r\n", lines.concat()).as_bytes())?;
    far.write_all(&body)?;
    let mut block = vec![0; 65_536];
    loop {
        match far.read(&mut block)? {
            0 => return Ok(()),
            read => near.write_all(&block[..read])?,
        }
    }
}

/// An answer that no Partway server gives: with a page, and with these further header lines.
pub(crate) fn page(status: u16, headers: &str) -> String {
    let body = "<html>hello</html>";
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

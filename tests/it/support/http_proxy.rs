//! An HTTP proxy between a client and a server. It answers some requests itself and forwards the others.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

/// Starts a proxy for HTTP/1.1 with one request for each connection, and returns its URL. `answer` gets the request line and
/// returns the whole response, or `None` to forward the request to the address `target`. The proxy runs until the test
/// process ends.
pub(crate) fn http_proxy(target: &str, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (target, answer) = (target.to_owned(), Arc::new(answer));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (target, answer) = (target.clone(), Arc::clone(&answer));
            // Ignore errors: a client may close its connection at any time.
            std::thread::spawn(move || socket.and_then(|socket| serve(socket, &target, &*answer)));
        }
    });
    url
}

fn serve(mut near: TcpStream, target: &str, answer: &dyn Fn(&str) -> Option<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    if reader.fill_buf()?.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
        // Not HTTP, such as a TLS handshake. HTTP servers answer with a plain 400.
        return near.write_all(page(400, "").as_bytes());
    }
    let Some(lines) = read_head(&mut reader)? else { return Ok(()) };
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    let length = lower.iter().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |value| value.trim().parse().unwrap());
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

/// The request line and the header lines, without the empty line after them. `None` if the connection ends before.
pub(super) fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(lines));
        }
        lines.push(line);
    }
}

/// A response with an HTML page and these extra header lines. No Partway server sends such a response.
pub(crate) fn page(status: u16, headers: &str) -> String {
    let body = "<html>hello</html>";
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

//! An HTTP proxy that cuts answers.

use std::{
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use super::http_proxy::read_head;

/// A proxy for HTTP/1.1 with one request for each connection, and without request bodies. It cuts the answers with the content
/// of a file.
pub(crate) struct CuttingProxy {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl CuttingProxy {
    /// Starts a proxy in front of this address. `cut_after` gets the number of the request for content, from 0, and returns after
    /// how many bytes of the answer's body the connection breaks; `None` forwards all of it. The proxy runs until the test
    /// process ends.
    pub(crate) fn start(target: &str, cut_after: impl Fn(usize) -> Option<usize> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (target, heads) = (target.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for socket in listener.incoming().map(Result::unwrap) {
                // Ignore errors: a client may close its connection at any time.
                let _ = serve(socket, &target, &seen, &cut_after);
            }
        });
        Self { url, heads }
    }

    /// The heads of the requests for content, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(
    mut near: TcpStream,
    target: &str,
    heads: &Mutex<Vec<String>>,
    cut_after: &dyn Fn(usize) -> Option<usize>,
) -> std::io::Result<()> {
    let Some(lines) = read_head(&mut BufReader::new(near.try_clone()?))? else { return Ok(()) };
    let mut cut = None;
    if lines[0].starts_with("GET ") && lines[0].contains("/content ") {
        let number = {
            let mut heads = heads.lock().unwrap();
            heads.push(lines.concat().to_lowercase());
            heads.len() - 1
        };
        cut = cut_after(number);
    }
    let mut far = TcpStream::connect(target)?;
    far.write_all(format!("{}Connection: close\r\n\r\n", lines.concat()).as_bytes())?;
    let mut answer = Vec::new();
    far.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let end = cut.map_or(answer.len(), |cut| answer.len().min(body + cut));
    near.write_all(&answer[..end])
}

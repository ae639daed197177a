//! Uploads a file with the crate `tus_client`, until that succeeds. Prints the URL of the upload.
//!
//!     tus-rust PATCH|POST ENDPOINT TOKEN FILE
//!
//! With `POST`, every request is a `POST` that names its method in a header.

use std::{collections::HashMap, path::PathBuf, thread::sleep, time::Duration};

use tus_client::{
    Client, Error,
    http::{HttpHandler, HttpRequest, HttpResponse},
};

/// Sends the requests of the client, with a token.
struct Http {
    token: String,
}

impl HttpHandler for Http {
    fn handle_request(&self, request: HttpRequest<'_>) -> Result<HttpResponse, Error> {
        let mut sending = ureq::request(&request.method.to_string().to_uppercase(), &request.url)
            .set("Authorization", &format!("Bearer {}", self.token));
        for (name, value) in &request.headers {
            sending = sending.set(name, value);
        }
        let answer = match request.body {
            Some(body) => sending.send_bytes(body),
            None => sending.call(),
        };
        let response = match answer {
            Ok(response) | Err(ureq::Error::Status(_, response)) => response,
            Err(error) => return Err(Error::HttpHandlerError(error.to_string())),
        };
        let value = |name: &String| (name.clone(), response.header(name).unwrap_or_default().to_owned());
        Ok(HttpResponse {
            status_code: response.status().into(),
            headers: response.headers_names().iter().map(value).collect(),
        })
    }
}

fn main() {
    let [_, method, endpoint, token, path] = std::env::args().collect::<Vec<_>>().try_into().expect("four arguments");
    let path = PathBuf::from(path);
    let http = Http { token };
    let client = if method == "POST" { Client::with_method_override(http) } else { Client::new(http) };

    let metadata = HashMap::from([("filename".to_owned(), "file.bin".to_owned())]);
    let url = client.create_with_metadata(&endpoint, &path, metadata).expect("a new upload");
    // The client cannot read an empty file. It is complete when it is created.
    let is_empty = path.metadata().expect("a file").len() == 0;
    for _ in 0..75 {
        match if is_empty { Ok(()) } else { client.upload(&url, &path) } {
            Ok(()) => {
                println!("{url}");
                return;
            }
            Err(error) => eprintln!("tus_client tries again: {error}"),
        }
        sleep(Duration::from_millis(200));
    }
    panic!("tus_client did not succeed");
}

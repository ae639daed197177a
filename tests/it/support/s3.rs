//! A fake S3 store, as strict as the strictest real one. It keeps the last put of a part, and its etags are not hashes, as with
//! SSE-KMS. It refuses to complete an upload with an unknown etag. It checks the CRC-64/NVME of each part of an upload that was created
//! with one, and refuses a part without, or with one in any other upload. A test can make it refuse puts and checksums.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use tokio::sync::watch;

use super::crc64nvme;

/// The etag and bytes of each part, by part number.
type Parts = BTreeMap<u32, (String, Bytes)>;

const ALGORITHM: &str = "x-amz-checksum-algorithm";
const CHECKSUM: &str = "x-amz-checksum-crc64nvme";

#[derive(Default)]
struct Store {
    objects: Mutex<HashMap<String, Bytes>>,
    uploads: Mutex<HashMap<String, Upload>>,
    etags: AtomicUsize,
    refuses_puts: AtomicBool,
    refuses_checksums: AtomicBool,
    holds_parts: watch::Sender<bool>,
    checked_parts: AtomicUsize,
}

struct Upload {
    has_checksums: bool,
    parts: Parts,
}

/// A running fake store on its own port. It stops with the test's runtime.
pub(crate) struct FakeS3 {
    pub(crate) endpoint: String,
    store: Arc<Store>,
}

impl FakeS3 {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = Arc::new(Store::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&store));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, store }
    }

    /// The environment variables with which a server uses this store.
    pub(crate) fn settings(&self) -> [(&str, &str); 6] {
        [
            ("PARTWAY_STORAGE", "s3://bucket/prefix"),
            ("PARTWAY_DATABASE", ""),
            ("AWS_ENDPOINT_URL_S3", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// Puts a part into the only upload, like a delayed put that the server cancelled long ago.
    pub(crate) fn put_late(&self, part: u32, bytes: &[u8]) {
        let etag = self.store.etag();
        let mut uploads = self.store.uploads.lock().unwrap();
        uploads.values_mut().next().unwrap().parts.insert(part, (etag, bytes.to_vec().into()));
    }

    /// Drops all uploads, as a bucket's lifecycle rule on incomplete uploads does.
    pub(crate) fn drop_uploads(&self) {
        self.store.uploads.lock().unwrap().clear();
    }

    /// Refuses to create uploads with checksums.
    pub(crate) fn refuse_checksums(&self, refuses: bool) {
        self.store.refuses_checksums.store(refuses, Ordering::Relaxed);
    }

    /// How many parts had a checksum, which was right.
    pub(crate) fn checked_parts(&self) -> usize {
        self.store.checked_parts.load(Ordering::Relaxed)
    }

    /// Does not answer the puts of parts.
    pub(crate) fn hold_parts(&self) {
        self.store.holds_parts.send_replace(true);
    }

    /// How many uploads are neither complete nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        self.store.uploads.lock().unwrap().len()
    }

    pub(crate) fn refuse_puts(&self, refuses: bool) {
        self.store.refuses_puts.store(refuses, Ordering::Relaxed);
    }
}

impl Store {
    fn etag(&self) -> String {
        format!("\"{:032x}\"", self.etags.fetch_add(1, Ordering::Relaxed))
    }

    fn put_part(&self, id: &str, number: u32, checksum: Option<String>, bytes: Bytes) -> Response {
        let mut uploads = self.uploads.lock().unwrap();
        let Some(upload) = uploads.get_mut(id) else { return error(StatusCode::NOT_FOUND, "NoSuchUpload") };
        if checksum != upload.has_checksums.then(|| crc64nvme(&bytes)) {
            return error(StatusCode::BAD_REQUEST, "BadDigest");
        }
        self.checked_parts.fetch_add(usize::from(checksum.is_some()), Ordering::Relaxed);
        let etag = self.etag();
        upload.parts.insert(number, (etag.clone(), bytes));
        let mut response = [(header::ETAG, etag)].into_response();
        if let Some(checksum) = checksum {
            response.headers_mut().insert(CHECKSUM, checksum.parse().unwrap());
        }
        response
    }

    fn read(&self, key: &str, etag: String, range: Option<&HeaderValue>) -> Response {
        let objects = self.objects.lock().unwrap();
        let Some(object) = objects.get(key) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let (size, modified) = (object.len(), (header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT".to_owned()));
        let range = range.map(|range| {
            let range = range.to_str().unwrap().trim_start_matches("bytes=").split_once('-').unwrap();
            let (first, last): (usize, usize) = (range.0.parse().unwrap(), range.1.parse().unwrap());
            first..size.min(last + 1)
        });
        match range {
            None => ([modified, (header::ETAG, etag)], object.clone()).into_response(),
            Some(range) => {
                let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let headers = [modified, (header::ETAG, etag), (header::CONTENT_RANGE, content_range)];
                (StatusCode::PARTIAL_CONTENT, headers, object.slice(range)).into_response()
            }
        }
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code></Error>")).into_response()
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // The sender may be killed.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return error(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    let key = head.uri.path().to_owned();
    let query: HashMap<&str, &str> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let upload = query.get("uploadId").map(|id| (*id).to_owned());
    if head.method == Method::PUT && store.refuses_puts.load(Ordering::Relaxed) {
        return error(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let etag = store.etag();
    match (head.method, upload) {
        (Method::POST, None) => {
            let id = etag.trim_matches('"').to_owned();
            let has_checksums = head.headers.get(ALGORITHM).is_some_and(|algorithm| algorithm == "CRC64NVME");
            if has_checksums && store.refuses_checksums.load(Ordering::Relaxed) {
                return error(StatusCode::BAD_REQUEST, "InvalidArgument");
            }
            store.uploads.lock().unwrap().insert(id.clone(), Upload { has_checksums, parts: BTreeMap::new() });
            format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                .into_response()
        }
        (Method::PUT, Some(id)) => {
            let _ = store.holds_parts.subscribe().wait_for(|holds| !holds).await;
            let checksum = head.headers.get(CHECKSUM).map(|checksum| checksum.to_str().unwrap().to_owned());
            store.put_part(&id, query["partNumber"].parse().unwrap(), checksum, body)
        }
        (Method::GET, Some(id)) => {
            let uploads = store.uploads.lock().unwrap();
            let Some(Upload { parts, .. }) = uploads.get(&id) else {
                return error(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            // Each page has one part, so the client must request several pages.
            let after: u32 = query.get("part-number-marker").map_or(0, |marker| marker.parse().unwrap());
            let page = parts.range(after + 1..).next().map(|(number, (etag, bytes))| {
                let size = bytes.len();
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size></Part><NextPartNumberMarker>{number}</NextPartNumberMarker>")
            });
            let is_truncated = page.is_some();
            let page = page.unwrap_or_default();
            format!("<ListPartsResult>{page}<IsTruncated>{is_truncated}</IsTruncated></ListPartsResult>")
                .into_response()
        }
        (Method::POST, Some(id)) => {
            let mut uploads = store.uploads.lock().unwrap();
            let Some(Upload { parts, has_checksums }) = uploads.get(&id) else {
                return error(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            let request = String::from_utf8(body.to_vec()).unwrap().replace("&quot;", "\"");
            let mut whole = Vec::new();
            for (number, (etag, bytes)) in parts {
                // The store drops parts that the request does not name.
                if !request.contains(&format!("<PartNumber>{number}</PartNumber>")) {
                    continue;
                }
                if !request.contains(etag.as_str()) {
                    return error(StatusCode::BAD_REQUEST, "InvalidPart");
                }
                let checksum = format!("<ChecksumCRC64NVME>{}</ChecksumCRC64NVME>", crc64nvme(bytes));
                assert_eq!(request.contains(&checksum), *has_checksums);
                whole.extend_from_slice(bytes);
            }
            uploads.remove(&id);
            store.objects.lock().unwrap().insert(key, whole.into());
            format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>")
                .into_response()
        }
        (Method::DELETE, Some(id)) => match store.uploads.lock().unwrap().remove(&id) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
        },
        (Method::PUT, None) => {
            store.objects.lock().unwrap().insert(key, body);
            [(header::ETAG, etag)].into_response()
        }
        (Method::DELETE, None) => {
            store.objects.lock().unwrap().remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        (_, None) if query.contains_key("list-type") => {
            let prefix = format!("/bucket/{}", query.get("prefix").unwrap_or(&"").replace("%2F", "/"));
            let objects = store.objects.lock().unwrap();
            let found: String = objects
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(key, bytes)| {
                    let (key, size) = (key.trim_start_matches("/bucket/"), bytes.len());
                    format!("<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>")
                })
                .collect();
            format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>").into_response()
        }
        (_, _) => store.read(&key, etag, head.headers.get(header::RANGE)),
    }
}

//! Interim answers with the status `104 (Upload Resumption Supported)`.
//!
//! Owns when they are sent and what they say: first where the upload is, so that a client whose connection breaks can go on;
//! then how many bytes are durable, which the client need not keep. Does not own how an answer gets between the bytes of a
//! connection: that is `http/interim.rs`.

use std::{convert::Infallible, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{call::Call, fields};
use crate::domain::{Session, SessionId};

const STATUS: u16 = 104;
const REASON: &str = "Upload Resumption Supported";
/// Time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

impl Call {
    /// Tells the client the upload's URL and limits.
    pub(super) async fn announce(&self, session: &Session) {
        let location = HeaderValue::try_from(self.upload_url(session.id)).ok();
        let location = location.map(|url| (header::LOCATION, url));
        self.interject(location.into_iter().chain([self.limit(Some(session))])).await;
    }

    /// Tells the client how many bytes of a session are durable, while `append` runs.
    pub(super) async fn reporting<T>(&self, session: &Session, append: impl Future<Output = T>) -> T {
        if self.interim().is_none() {
            return append.await;
        }
        tokio::select! {
            biased;
            appended = append => appended,
            never = self.report(session.id, session.contiguous_bytes()) => match never {},
        }
    }

    async fn report(&self, id: SessionId, mut told: u64) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            // A failed read is no reason to fail the append.
            let Ok(upload) = self.service.status(&self.principal, id).await else { continue };
            let durable = upload.session.contiguous_bytes();
            if durable > told {
                told = durable;
                self.interject([fields::offset(durable)]).await;
            }
        }
    }

    async fn interject(&self, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) {
        let Some((interim, version)) = self.interim() else { return };
        let version = (fields::INTEROP_VERSION, HeaderValue::from(version));
        let headers: HeaderMap = fields.into_iter().chain([version]).collect();
        interim.send(STATUS, REASON, &headers).await;
    }
}

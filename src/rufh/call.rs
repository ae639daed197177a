//! What the handlers of this edge need of a request.
//!
//! Owns which version the client speaks, the URLs and the limits in answers.

use std::sync::Arc;

use axum::{
    Extension,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};

use super::{fields, version::Version};
use crate::{
    domain::{FileId, Principal, Session, SessionId, Upload},
    error::{Code, Error},
    http::{Caller, Interim, Problem, PublicUrl},
    service::Service,
};

/// A request by an authenticated caller.
pub(super) struct Call {
    pub(super) service: Arc<Service>,
    pub(super) principal: Principal,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    public_url: PublicUrl,
    interim: Option<Interim>,
}

impl FromRequestParts<Arc<Service>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let Caller(principal) = Caller::from_request_parts(parts, service).await?;
        let Extension(public_url) = Extension::from_request_parts(parts, service).await.map_err(Error::internal)?;
        Ok(Self {
            service: Arc::clone(service),
            principal,
            version: Version::of(&parts.headers),
            headers: parts.headers.clone(),
            public_url,
            interim: parts.extensions.get::<Interim>().cloned(),
        })
    }
}

impl Call {
    /// The URL of an upload.
    pub(super) fn upload_url(&self, id: SessionId) -> String {
        self.public_url.absolute(&self.headers, &format!("/uploads/resumable/{id}"))
    }

    /// The URL of a file's record.
    pub(super) fn file_url(&self, id: FileId) -> String {
        self.public_url.absolute(&self.headers, &format!("/files/{id}"))
    }

    /// The upload of a stored file, with its SHA-256 if the client wants it and may ask for it. An answer without it is still right,
    /// so a failure is only logged.
    pub(super) async fn with_wanted_digest(&self, mut upload: Upload) -> Upload {
        if upload.file.sha256.is_none() && fields::wants_digest(&self.headers) {
            match Box::pin(self.service.digest_file(&self.principal, upload.file.id)).await {
                Ok(file) => upload.file = file,
                Err(error) if error.code() == Code::Forbidden => {}
                Err(error) => error.log(),
            }
        }
        upload
    }

    /// `Upload-Limit`: the limits of every upload, and how long this one remains if no bytes arrive.
    pub(super) fn limit(&self, session: Option<&Session>) -> (HeaderName, HeaderValue) {
        let age = session.map(|session| {
            let left = self.service.time_left(session).num_seconds();
            (self.version.age_key(), u64::try_from(left).unwrap_or_default())
        });
        let limits: Vec<_> = limits_of_all(&self.service).into_iter().chain(age).collect();
        fields::limit(&limits)
    }

    /// Where interim answers go, and the interop version that they must name. `None` if the client must not get any.
    pub(super) fn interim(&self) -> Option<(&Interim, u64)> {
        self.interim.as_ref().zip(self.version.for_interim_answers())
    }
}

/// The limits of every upload.
pub(super) fn limits_of_all(service: &Service) -> [(&'static str, u64); 2] {
    [("max-size", service.limits().max_file_size.0), ("min-size", 0)]
}

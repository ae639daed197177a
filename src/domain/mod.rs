//! The rules of resumable uploads, with no input and no output.
//!
//! Owns the types for sessions, parts, received sets, digests and owners, and their state changes. Does not own
//! databases, protocols or storage, and imports no other module of Partway: so every rule can be read and tested alone.

mod account;
mod append;
mod clock;
mod crc64;
mod digest;
mod event;
mod expiry;
mod file;
mod finalize;
mod hasher;
mod id;
mod json;
mod list;
mod metadata;
mod moved;
mod part_plan;
mod part_set;
mod principal;
mod session;
mod session_state;
mod token_hash;
mod upload;
mod upload_request;
mod webhook;
mod webhook_secret;

pub use account::{Account, AccountLimits, Usage};
pub use append::Tail;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp, is_younger};
pub use crc64::{Crc64Nvme, InvalidCrc64};
pub use digest::{InvalidDigest, Sha256Digest};
pub use event::{Event, EventId, EventType};
pub use expiry::ExpiryPause;
pub use file::{FileRecord, FileStatus, filename_key};
pub use finalize::{Actual, ExpectedDigests, Finalize, Refusal, Step};
pub use hasher::{Digests, FileDigests, Hasher};
pub use id::{FileId, InvalidId, SessionId, WebhookId};
pub use json::JsonLevel;
pub use list::{Direction, FilePage, UploadPage, UploadQuery};
pub use metadata::{Metadata, MetadataError};
pub use moved::{Arrived, ArrivedTail};
pub use part_plan::{MIB, Part, PartPlan, PlanError};
pub use part_set::{PartPage, PartRange, PartSet};
pub use principal::{OwnerName, Principal};
pub use session::{MultipartUpload, PartRecord, Session, SessionStatus, StatusReason};
pub use session_state::{Encoded, SessionState};
pub use token_hash::TokenHash;
pub use upload::{CompleteFile, Upload, UploadState};
pub use upload_request::UploadRequest;
pub use webhook::{DeliveryState, PREVIOUS_SECRET_SIGNS, Webhook, retry_delay, webhook_body};
pub use webhook_secret::{InvalidSecret, WebhookSecret, webhook_signatures};

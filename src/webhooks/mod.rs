//! Sending webhooks, after [Standard Webhooks](https://www.standardwebhooks.com) 1.0.0.
//!
//! Owns which URLs and addresses the server may send to, and one attempt to send one body. Does not own signatures, and
//! when an attempt is due: those are in `domain`. Does not own rows or events: those are in `db` and `service`.

mod address;
mod sender;
mod settings;
mod target;

pub use sender::{Message, Outcome, Sender};
pub use settings::WebhookSettings;
pub use target::{InvalidTarget, Target};

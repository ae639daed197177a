//! The token of a stream or a socket.
//!
//! Owns how long it stays open: until the token is revoked or expires, to within a few seconds.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{Code, Result},
    service::Service,
};

/// How often the token is looked up.
const INTERVAL: Duration = Duration::from_secs(3);

/// Ends when the token does.
pub(super) fn token_end(service: Arc<Service>, token: String) -> impl Future<Output = ()> + Send {
    let token: Arc<str> = token.into();
    wait_for_end(move || {
        let (service, token) = (Arc::clone(&service), Arc::clone(&token));
        async move { service.authenticate(&token).await.map(drop) }
    })
}

/// Ends when a look-up says that the token does not exist. The token was valid when the stream began, so a look-up that
/// fails, for example without a database, ends nothing.
async fn wait_for_end<F: Future<Output = Result<()>>>(look_up: impl Fn() -> F) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if look_up().await.is_err_and(|error| error.code() == Code::Unauthenticated) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_when_it_is_none_and_not_when_nobody_can_tell() {
        let look_ups = AtomicUsize::new(0);
        let look_up = || {
            std::future::ready(match look_ups.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                1 => Err(Error::unavailable("the database is away", "gone")),
                2 => Err(Error::internal("a row makes no sense")),
                _ => Err(Error::unauthenticated()),
            })
        };
        wait_for_end(look_up).await;
        assert_eq!(look_ups.into_inner(), 4);
    }
}

//! The token of an open stream or socket.
//!
//! Owns the repeated look-up that ends a stream a few seconds after its token was revoked or has expired.

use std::{sync::Arc, time::Duration};

use crate::{
    error::{Code, Result},
    service::Service,
};

/// Time between two look-ups of the token.
const INTERVAL: Duration = Duration::from_secs(3);

/// Completes when the token is no longer valid.
pub(crate) fn token_end(service: Arc<Service>, token: String) -> impl Future<Output = ()> + Send {
    let token: Arc<str> = token.into();
    wait_for_end(move || {
        let (service, token) = (Arc::clone(&service), Arc::clone(&token));
        async move { service.authenticate(&token).await.map(drop) }
    })
}

/// Completes when a look-up returns `UNAUTHENTICATED`. The token was valid when the stream began, so any other error, for
/// example of the database, does not end the stream.
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
    async fn only_an_invalid_token_ends_the_stream_and_a_failed_look_up_does_not() {
        let look_ups = AtomicUsize::new(0);
        let look_up = || {
            std::future::ready(match look_ups.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                1 => Err(Error::unavailable("the database is not available", "refused")),
                2 => Err(Error::internal("a row makes no sense")),
                _ => Err(Error::unauthenticated()),
            })
        };
        wait_for_end(look_up).await;
        assert_eq!(look_ups.into_inner(), 4);
    }
}

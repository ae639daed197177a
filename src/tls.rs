//! TLS of outgoing connections.
//!
//! Owns the choice of the cryptography: ring, because it builds with only a C compiler. Does not own the connections.

/// Makes ring the provider of this process. Call it before the first HTTP client is built.
pub(crate) fn use_ring() {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! Tokens of an identity provider.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use parking_lot::Mutex;
use partway::{domain::Clock, identity::JwtSettings};
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, in_time};

const ISSUER: &str = "https://id.example.org/";
const AUDIENCE: &str = "partway";
const RSA: &[u8] = include_bytes!("fixtures/jwt/rsa1.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("fixtures/jwt/rsa1.pub.pem");
const OTHER_RSA: &[u8] = include_bytes!("fixtures/jwt/rsa2.pem");
const P256: &[u8] = include_bytes!("fixtures/jwt/p256.pem");
const P384: &[u8] = include_bytes!("fixtures/jwt/p384.pem");
const ED25519: &[u8] = include_bytes!("fixtures/jwt/ed25519.pem");
const SECRET: &[u8] = b"a secret of at least 32 bytes, as RFC 7518 requires";

fn rsa(pem: &[u8]) -> EncodingKey {
    EncodingKey::from_rsa_pem(pem).unwrap()
}

/// Every kind of key, with its id and an algorithm of it.
fn keys() -> [(&'static str, Algorithm, EncodingKey); 6] {
    [
        ("rsa", Algorithm::RS256, rsa(RSA)),
        ("rsa", Algorithm::RS512, rsa(RSA)),
        ("rsa", Algorithm::PS384, rsa(RSA)),
        ("p256", Algorithm::ES256, EncodingKey::from_ec_pem(P256).unwrap()),
        ("p384", Algorithm::ES384, EncodingKey::from_ec_pem(P384).unwrap()),
        ("ed", Algorithm::EdDSA, EncodingKey::from_ed_pem(ED25519).unwrap()),
    ]
}

/// A public key as an entry of a set. It does not name its algorithm.
fn entry(id: &str, algorithm: Algorithm, key: &EncodingKey) -> Value {
    let mut entry = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    entry["kid"] = json!(id);
    entry["use"] = json!("sig");
    entry.as_object_mut().unwrap().remove("alg");
    entry
}

/// A provider that publishes a key set, and counts how often it is read.
#[derive(Clone)]
struct Provider {
    set: Arc<Mutex<Option<Value>>>,
    reads: Arc<AtomicUsize>,
    url: String,
}

impl Provider {
    async fn start(entries: Vec<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let set = Arc::new(Mutex::new(Some(json!({ "keys": entries }))));
        let provider = Self { set, reads: Arc::default(), url };
        let answering = provider.clone();
        let answer = move || {
            answering.reads.fetch_add(1, Ordering::Relaxed);
            let set = answering.set.lock().clone();
            async move {
                match set {
                    Some(set) => axum::Json(set).into_response(),
                    None => StatusCode::BAD_GATEWAY.into_response(),
                }
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", get(answer))).await });
        provider
    }

    /// `None`: the provider answers 502 from now on.
    fn publish(&self, entries: Option<Vec<Value>>) {
        *self.set.lock() = entries.map(|entries| json!({ "keys": entries }));
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    async fn app(&self) -> TestApp {
        let url = self.url.clone();
        with_identity(JwtSettings { jwt_jwks_url: url, ..settings() }).await
    }
}

fn settings() -> JwtSettings {
    JwtSettings {
        jwt_issuer: ISSUER.to_owned(),
        jwt_audience: AUDIENCE.to_owned(),
        jwt_owner_claim: "sub".to_owned(),
        ..JwtSettings::default()
    }
}

async fn with_identity(settings: JwtSettings) -> TestApp {
    TestApp::with(|config| config.identity = settings).await
}

/// An app whose key is in a file with this content.
async fn with_key_file(content: &[u8]) -> TestApp {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    with_identity(JwtSettings { jwt_key_file: file.path().to_str().unwrap().to_owned(), ..settings() }).await
}

/// Claims that are valid for ten minutes.
fn claims(app: &TestApp) -> Value {
    let now = app.clock.now().timestamp();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "auth0|5f7c8ec7", "exp": now + 600, "nbf": now })
}

fn signed(algorithm: Algorithm, id: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}

async fn list(app: &TestApp, token: &str) -> Answer {
    let mut user = app.anonymous();
    user.token = token.to_owned();
    in_time(user.get("/uploads/sessions")).await
}

async fn is_refused(app: &TestApp, token: &str) {
    assert_eq!(list(app, token).await.problem(), (401, "UNAUTHENTICATED".to_owned()), "{token}");
}

#[tokio::test]
async fn every_kind_of_key_signs_valid_tokens() {
    let provider =
        Provider::start(keys().iter().map(|(id, algorithm, key)| entry(id, *algorithm, key)).collect()).await;
    let app = provider.app().await;
    for (id, algorithm, key) in keys() {
        list(&app, &signed(algorithm, Some(id), &claims(&app), &key)).await.expect(200);
        list(&app, &signed(algorithm, None, &claims(&app), &key)).await.expect(200);
        let mut of_many = claims(&app);
        of_many["aud"] = json!(["another", AUDIENCE]);
        list(&app, &signed(algorithm, Some(id), &of_many, &key)).await.expect(200);
    }
    assert_eq!(provider.reads(), 1, "the set is cached");
}

#[tokio::test]
async fn the_owner_is_the_claim_and_owns_what_it_creates() {
    let provider = Provider::start(vec![entry("rsa", Algorithm::RS256, &rsa(RSA))]).await;
    let url = provider.url.clone();
    let app = with_identity(JwtSettings {
        jwt_jwks_url: url,
        jwt_owner_claim: "https://example.org/account".to_owned(),
        ..settings()
    })
    .await;
    let token = |owner: Value| {
        let mut claims = claims(&app);
        claims["https://example.org/account"] = owner;
        signed(Algorithm::RS256, Some("rsa"), &claims, &rsa(RSA))
    };
    for owner in ["auth0|5f7c8ec7", "ann+test@example.org", "01890000-0000-7000-8000-000000000000", &"x".repeat(255)] {
        let mut user = app.anonymous();
        user.token = token(json!(owner));
        let id = user.create_id(5).await;
        assert_eq!(user.status(&id).await["status"], "INIT");
        let own = app.user(owner).await;
        assert_eq!(own.status(&id).await["status"], "INIT", "an own token of the same owner opens it, too");
        app.user("bob").await.get(&format!("/uploads/sessions/{id}")).await.expect(404);
    }
    for owner in [json!(null), json!(7), json!(""), json!(["ann"]), json!("a\nb"), json!("x".repeat(256)), json!("ünï")]
    {
        is_refused(&app, &token(owner)).await;
    }
    is_refused(&app, &signed(Algorithm::RS256, Some("rsa"), &claims(&app), &rsa(RSA))).await;
}

#[tokio::test]
async fn wrong_claims_are_refused() {
    let app = with_key_file(RSA_PUBLIC).await;
    let now = app.clock.now().timestamp();
    let changed = |name: &str, value: Value| {
        let mut claims = claims(&app);
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        signed(Algorithm::RS256, None, &claims, &rsa(RSA))
    };
    for (name, value) in [
        ("iss", json!("https://id.example.com/")),
        ("iss", json!(null)),
        ("iss", json!([ISSUER, "https://id.example.com/"])),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("exp", json!(null)),
        ("exp", json!(now - 61)),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1e300)),
        ("exp", json!(1e300)),
        ("nbf", json!(now + 61)),
        ("nbf", json!("yesterday")),
        ("sub", json!(null)),
    ] {
        is_refused(&app, &changed(name, value)).await;
    }
    // The clocks may differ by a minute.
    for (name, value) in [
        ("exp", json!(now - 59)),
        ("nbf", json!(now + 59)),
        ("nbf", json!(null)),
        ("exp", serde_json::from_str(&format!("{now}.5")).unwrap()),
    ] {
        list(&app, &changed(name, value)).await.expect(200);
    }
}

#[tokio::test]
async fn a_token_that_the_provider_has_not_signed_is_refused() {
    let provider = Provider::start(vec![
        entry("rsa", Algorithm::RS256, &rsa(RSA)),
        json!({ "kty": "oct", "kid": "secret", "k": "YSBzZWNyZXQgb2YgYXQgbGVhc3QgMzIgYnl0ZXMsIGFz" }),
        json!({ "kty": "new", "kid": "new" }),
        json!("nonsense"),
    ])
    .await;
    let by_set = provider.app().await;
    let by_file = with_key_file(RSA_PUBLIC).await;
    for app in [&by_set, &by_file] {
        let claims = claims(app);
        let valid = signed(Algorithm::RS256, Some("rsa"), &claims, &rsa(RSA));
        list(app, &valid).await.expect(200);
        let [header, payload, signature] = valid.split('.').collect::<Vec<_>>().try_into().unwrap();
        let none = base64_url(br#"{"alg":"none","typ":"JWT"}"#);
        let public_secret = EncodingKey::from_secret(RSA_PUBLIC).unwrap();
        let trimmed_secret = EncodingKey::from_secret(RSA_PUBLIC.trim_ascii_end()).unwrap();
        let published_secret = EncodingKey::from_secret(b"a secret of at least 32 bytes, as").unwrap();
        let mut other_subject: Value = claims.clone();
        other_subject["sub"] = json!("admin");
        for forged in [
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{header}.{}.{signature}", base64_url(other_subject.to_string().as_bytes())),
            format!("{header}.{payload}.{signature}.{signature}"),
            format!("{}.{payload}.{signature}", base64_url(br#"{"alg":"RS512","kid":"rsa"}"#)),
            format!("{}.{payload}.{signature}", base64_url(br#"{"alg":"RS256","kid":"rsa","crit":["exp"]}"#)),
            "...".to_owned(),
            format!("{header}.{payload}.{}", "A".repeat(20_000)),
            signed(Algorithm::HS256, Some("rsa"), &claims, &public_secret),
            signed(Algorithm::HS256, Some("rsa"), &claims, &trimmed_secret),
            signed(Algorithm::HS256, Some("secret"), &claims, &published_secret),
            signed(Algorithm::RS256, Some("rsa"), &claims, &rsa(OTHER_RSA)),
            signed(Algorithm::RS256, Some("unknown"), &claims, &rsa(OTHER_RSA)),
            signed(Algorithm::RS256, None, &claims, &rsa(OTHER_RSA)),
            signed(Algorithm::ES256, Some("rsa"), &claims, &EncodingKey::from_ec_pem(P256).unwrap()),
        ] {
            is_refused(app, &forged).await;
        }
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn a_file_may_hold_a_secret_or_a_public_key_of_every_kind() {
    let app = with_key_file(&[SECRET, b"\n"].concat()).await;
    let secret = EncodingKey::from_secret(SECRET).unwrap();
    list(&app, &signed(Algorithm::HS256, Some("any"), &claims(&app), &secret)).await.expect(200);
    is_refused(&app, &signed(Algorithm::HS512, None, &claims(&app), &secret)).await;
    for (public, (_, algorithm, key)) in [
        (include_bytes!("fixtures/jwt/p256.pub.pem").as_slice(), keys()[3].clone()),
        (include_bytes!("fixtures/jwt/p384.pub.pem"), keys()[4].clone()),
        (include_bytes!("fixtures/jwt/ed25519.pub.pem"), keys()[5].clone()),
    ] {
        let app = with_key_file(public).await;
        list(&app, &signed(algorithm, None, &claims(&app), &key)).await.expect(200);
        is_refused(&app, &signed(Algorithm::RS256, None, &claims(&app), &rsa(RSA))).await;
    }
}

#[tokio::test]
async fn a_rotated_key_is_found_and_a_withdrawn_one_stops_working() {
    let (old, new) = (rsa(RSA), rsa(OTHER_RSA));
    let provider = Provider::start(vec![entry("old", Algorithm::RS256, &old)]).await;
    let app = provider.app().await;
    let by = |id: &str, key: &EncodingKey| {
        // Each token is another one: the server keeps valid tokens for two seconds.
        let mut claims = claims(&app);
        claims["jti"] = json!(provider.reads());
        signed(Algorithm::RS256, Some(id), &claims, key)
    };
    list(&app, &by("old", &old)).await.expect(200);
    provider.publish(Some(vec![entry("new", Algorithm::RS256, &new)]));
    // Made-up ids cause no load.
    for guess in 0..20 {
        is_refused(&app, &by(&format!("guess {guess}"), &new)).await;
    }
    assert_eq!(provider.reads(), 1);
    app.advance(TimeDelta::seconds(11));
    list(&app, &by("new", &new)).await.expect(200);
    assert_eq!(provider.reads(), 2);
    is_refused(&app, &by("old", &old)).await;

    // The provider is down: the last set stays in use.
    provider.publish(None);
    app.advance(TimeDelta::minutes(16));
    list(&app, &by("new", &new)).await.expect(200);
    assert_eq!(provider.reads(), 3);
    provider.publish(Some(vec![entry("old", Algorithm::RS256, &old)]));
    app.advance(TimeDelta::seconds(11));
    is_refused(&app, &by("new", &new)).await;
}

#[tokio::test]
async fn without_any_keys_the_server_cannot_tell() {
    let provider = Provider::start(Vec::new()).await;
    provider.publish(None);
    let app = provider.app().await;
    let token = signed(Algorithm::RS256, Some("rsa"), &claims(&app), &rsa(RSA));
    assert_eq!(list(&app, &token).await.problem(), (503, "UNAVAILABLE".to_owned()));
    let own = app.user("ann").await;
    own.get("/uploads/sessions").await.expect(200);
    provider.publish(Some(vec![entry("rsa", Algorithm::RS256, &rsa(RSA))]));
    app.advance(TimeDelta::seconds(11));
    list(&app, &token).await.expect(200);
}

#[tokio::test]
async fn a_cached_token_expires_at_its_time() {
    let app = with_key_file(RSA_PUBLIC).await;
    let mut claims = claims(&app);
    claims["exp"] = json!(app.clock.now().timestamp() - 59);
    let token = signed(Algorithm::RS256, None, &claims, &rsa(RSA));
    list(&app, &token).await.expect(200);
    app.advance(TimeDelta::seconds(2));
    is_refused(&app, &token).await;
}

#[tokio::test]
async fn without_a_provider_a_jwt_is_no_token() {
    let app = TestApp::new().await;
    is_refused(&app, &signed(Algorithm::RS256, None, &claims(&app), &rsa(RSA))).await;
}

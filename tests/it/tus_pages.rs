//! tus from web pages: discovery by `OPTIONS`, preflight requests, and the headers that a page may read.

use axum::body::Body;

use crate::support::{Answer, TestApp};

const PAGE: &str = "https://app.example.org";

async fn options(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    let user = app.anonymous();
    let request = user.request("OPTIONS", path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    user.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn options_describes_the_server_to_everybody() {
    for origins in ["", PAGE] {
        let app = TestApp::with(|config| origins.clone_into(&mut config.server.cors_origins)).await;
        for path in ["/uploads/tus", "/uploads/tus/01890000-0000-7000-8000-000000000000"] {
            let answer = options(&app, path, &[]).await.expect(204);
            for (name, value) in [
                ("tus-version", "1.0.0"),
                ("tus-extension", "creation,creation-with-upload,expiration,termination,checksum"),
                ("tus-max-size", "100000"),
                ("tus-checksum-algorithm", "sha1,sha256"),
                ("tus-resumable", ""),
            ] {
                assert_eq!(answer.header(name), value, "{name}, {origins:?}");
            }
        }
        assert_eq!(options(&app, "/uploads/sessions", &[]).await.header("tus-version"), "");
    }
}

#[tokio::test]
async fn a_page_of_a_trusted_origin_may_upload() {
    let app = TestApp::with(|config| PAGE.clone_into(&mut config.server.cors_origins)).await;
    let headers = "authorization,content-type,idempotency-key,tus-resumable,upload-checksum,upload-length,\
                   upload-metadata,upload-offset,x-http-method-override,x-request-id,x-requested-with";
    let preflight = |origin, method| {
        let method = ("access-control-request-method", method);
        [("origin", origin), method, ("access-control-request-headers", headers)]
    };
    for method in ["POST", "HEAD", "PATCH", "DELETE"] {
        let answer = options(&app, "/uploads/tus", &preflight(PAGE, method)).await.expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        assert!(
            answer.header("access-control-allow-methods").split(',').any(|allowed| allowed == method),
            "{answer:?}"
        );
        assert_eq!(answer.header("access-control-allow-headers"), headers);
        assert_eq!(answer.header("tus-version"), "1.0.0");
    }
    let other = options(&app, "/uploads/tus", &preflight("https://other.example.org", "POST")).await;
    assert_eq!(other.header("access-control-allow-origin"), "");

    let user = app.user("ann").await;
    let request = user.tus("POST", "/uploads/tus").header("upload-length", 5);
    let request = request.header("origin", PAGE).header("sec-fetch-site", "cross-site");
    let created = user.send(request.body(Body::empty()).unwrap()).await.expect(201);
    assert_eq!(created.header("access-control-allow-origin"), PAGE);
    for name in [
        "location",
        "tus-checksum-algorithm",
        "tus-extension",
        "tus-max-size",
        "tus-resumable",
        "tus-version",
        "upload-expires",
        "upload-length",
        "upload-metadata",
        "upload-offset",
    ] {
        let mut exposed = created.header("access-control-expose-headers").split(',');
        assert!(exposed.any(|exposed| exposed == name), "{name}");
    }
    // A refusal is readable, too.
    let request = app.anonymous().tus("POST", "/uploads/tus").header("origin", PAGE);
    let refused = user.send(request.body(Body::empty()).unwrap()).await.expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), PAGE);
}

//! The style sheet, the script and the icons. They are compiled in and served under names that
//! contain a hash of the content, so that browsers can cache them forever.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};

/// The style sheet.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("static/style.css"),
    )
});
/// The script.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "page",
        "js",
        "text/javascript; charset=utf-8",
        include_str!("static/page.js"),
    )
});
/// The icons: one per state, each with its own color and shape.
static ICONS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        (OK, include_str!("static/icon.svg")),
        ("slow", include_str!("static/icon-slow.svg")),
        ("bad", include_str!("static/icon-bad.svg")),
        ("none", include_str!("static/icon-none.svg")),
        ("rest", include_str!("static/icon-rest.svg")),
    ]
    .map(|(state, body)| Asset::new(&format!("icon-{state}"), "svg", "image/svg+xml", body))
});
const OK: &str = "ok";

/// Returns the icon of a state, given its CSS class.
pub(super) fn icon(state: &str) -> &'static Asset {
    let prefix = format!("/assets/icon-{state}.");
    ICONS
        .iter()
        .find(|icon| icon.path.starts_with(&prefix))
        .unwrap_or(&ICONS[0])
}

/// One static file.
pub(super) struct Asset {
    path: String,
    mime: &'static str,
    body: &'static str,
    gzip: Vec<u8>,
}

impl Asset {
    fn new(stem: &str, extension: &str, mime: &'static str, body: &'static str) -> Self {
        let digest = digest(&SHA256, body.as_bytes());
        let hash = digest
            .as_ref()
            .iter()
            .take(6)
            .fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
        Self {
            path: format!("/assets/{stem}.{hash}.{extension}"),
            mime,
            body,
            gzip: gzip(body.as_bytes()),
        }
    }

    /// The path at which it is served.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// Serves the file of this name.
pub(super) async fn serve(Path(name): Path<String>, request: HeaderMap) -> Response {
    let asked = format!("/assets/{name}");
    let Some(asset) = [&*STYLE, &*SCRIPT]
        .into_iter()
        .chain(ICONS.iter())
        .find(|a| a.path == asked)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.mime)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if takes_gzip(&request) {
        let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return (headers, encoding, asset.gzip.clone()).into_response();
    }
    (headers, asset.body).into_response()
}

/// Serves the icon at the path that browsers request by default.
pub(super) async fn favicon(request: HeaderMap) -> Response {
    let name = icon(OK).path.trim_start_matches("/assets/").to_owned();
    serve(Path(name), request).await
}

/// Reports whether the client accepts gzip.
pub(super) fn takes_gzip(request: &HeaderMap) -> bool {
    let accepted = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip")
            && !["q=0", "q=0.0", "q=0.00", "q=0.000"].contains(&quality.trim())
    })
}

/// Compresses `body`, favoring speed over size.
pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

//! What the page loads: a style sheet, a script, an icon, and more when it is needed: charts, and a
//! script for what is live. A name contains
//! the digest of the file, so that it may be kept for ever.

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use sha2::{Digest, Sha256};

use super::super::Admin;
use super::super::reply::{Reply, line, reply};
use super::super::request::Request;
use super::with_headers;

/// Where all assets are.
pub const FOLDER: &str = "/assets/";

/// The paths of the assets.
pub struct Assets {
    pub style: String,
    pub script: String,
    pub live_script: String,
    pub icon: String,
    pub chart_style: String,
    pub chart_script: String,
}

struct Asset {
    path: String,
    kind: &'static str,
    bytes: &'static [u8],
}

/// Each with its name before and after the digest, and its type.
static FILES: LazyLock<[Asset; 6]> = LazyLock::new(|| {
    let asset = |name: &str, ending: &str, kind, bytes: &'static [u8]| {
        let digest = hex::encode(&Sha256::digest(bytes)[..8]);
        Asset { path: format!("{FOLDER}{name}.{digest}.{ending}"), kind, bytes }
    };
    let (css, js) = ("text/css; charset=utf-8", "text/javascript; charset=utf-8");
    let chart_style = include_bytes!("assets/vendor/uplot/uPlot.min.css");
    let chart_script = include_bytes!("assets/vendor/uplot/uPlot.iife.min.js");
    [
        asset("page", "css", css, include_bytes!("assets/page.css")),
        asset("page", "js", js, include_bytes!("assets/page.js")),
        asset("live", "js", js, include_bytes!("assets/live.js")),
        asset("icon", "svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
        asset("uplot", "css", css, chart_style),
        asset("uplot", "js", js, chart_script),
    ]
});

pub static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let [style, script, live_script, icon, chart_style, chart_script] =
        FILES.each_ref().map(|asset| asset.path.clone());
    Assets { style, script, live_script, icon, chart_style, chart_script }
});

/// Answers with an asset.
pub fn asset(_: &Admin, request: &Request) -> Reply {
    let path = request.head.uri.path();
    let Some(asset) = FILES.iter().find(|asset| asset.path == path) else {
        return line(StatusCode::NOT_FOUND, "not found");
    };
    let kind = HeaderValue::from_static(asset.kind);
    let mut reply = reply(StatusCode::OK, kind, Bytes::from_static(asset.bytes));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    reply.headers_mut().insert(CACHE_CONTROL, forever);
    with_headers(reply)
}

//! `/api/login` and `/api/logout`: a session for a token.

use std::time::Instant;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::Admin;
use super::caller::Peer;
use super::page;
use super::reply::{Reply, json, line};
use super::request::Request;
use super::sessions;

/// The body of a login as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: String,
}

/// Who has logged in, and what the session allows.
#[derive(Serialize)]
struct Welcome {
    token: String,
    may: Vec<&'static str>,
}

/// The maximum size of a body, in bytes.
const BODY: usize = 8 * 1024;
/// Where a page without scripts goes on.
const PAGE: HeaderValue = HeaderValue::from_static("/");

/// Begins a session with the token in a form or in JSON.
pub async fn login(admin: &Admin, request: Request) -> Reply {
    let Peer::Network(from) = request.peer else {
        return line(StatusCode::CONFLICT, "a socket file needs no token");
    };
    if !admin.access.has_tokens() {
        return line(StatusCode::CONFLICT, "there are no tokens");
    }
    let is_form = request.is_form();
    let shown = match shown(request).await {
        Ok(shown) => shown,
        Err(reply) => return reply,
    };
    let admitted = admin.access.log_in(shown.trim().as_bytes(), from, Instant::now());
    let (id, token, may) = match admitted {
        Ok(admitted) => admitted,
        Err(denial) => {
            if is_form {
                return page::refused(admin, &denial);
            }
            admin.metrics.denied(denial.reason());
            return denial.reply();
        }
    };
    tracing::info!(target: "audit", token, address = %from, "logged in");
    let may = may.iter().map(|right| right.name()).collect();
    let reply = answer(is_form, &Welcome { token, may });
    with_cookie(reply, &sessions::cookie(Some(&id), admin.tls.is_some()))
}

/// Ends the session of the cookie, if there is one.
pub async fn logout(admin: &Admin, request: Request) -> Reply {
    if let Some(id) = sessions::id(&request.head.headers) {
        admin.access.log_out(id);
    }
    let reply = answer(request.is_form(), &serde_json::json!({}));
    with_cookie(reply, &sessions::cookie(None, admin.tls.is_some()))
}

/// Reads the token in the body.
///
/// # Errors
///
/// The answer that says what is wrong with the body.
async fn shown(request: Request) -> Result<String, Reply> {
    if !request.is_form() {
        return Ok(request.json::<Shown>(BODY).await?.token);
    }
    let text = request.text(BODY).await?;
    let token = form_urlencoded::parse(text.as_bytes()).find(|(key, _)| key == "token");
    match token {
        Some((_, token)) => Ok(token.into_owned()),
        None => Err(line(StatusCode::BAD_REQUEST, "missing field `token`")),
    }
}

fn answer(is_form: bool, value: &impl Serialize) -> Reply {
    if !is_form {
        return json(StatusCode::OK, value);
    }
    let mut reply = line(StatusCode::SEE_OTHER, "go on at /");
    reply.headers_mut().insert(LOCATION, PAGE);
    reply
}

fn with_cookie(mut reply: Reply, cookie: &str) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(cookie).ok().map(|cookie| (SET_COOKIE, cookie)));
    reply
}

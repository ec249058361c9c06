//! The network of a trial: each URL answers what the test says.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use parking_lot::Mutex;
use url::Url;

use crate::fetch::{Answer, Request, Shown};
use crate::policy::imports::http::Carrier;

/// The answer of each URL, or its error.
pub type Answers = BTreeMap<Url, Result<Reply, String>>;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A request that the plugin made.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: String,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A stand-in for the network.
pub struct Web {
    answers: Mutex<Answers>,
    asked: Mutex<Vec<Asked>>,
}

impl Web {
    pub fn new(answers: Answers) -> Self {
        Self { answers: answers.into(), asked: Mutex::default() }
    }

    /// Replaces the answers of some URLs.
    pub fn answer(&self, answers: Answers) {
        self.answers.lock().extend(answers);
    }

    /// Takes the requests that were made since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl Carrier for Web {
    fn fetch(&self, request: Request) -> Result<Answer, String> {
        let Request { method, url, headers, body, .. } = request;
        self.asked.lock().push(Asked {
            method: method.to_string(),
            url: url.to_string(),
            headers,
            body: body.to_vec(),
        });
        let answers = self.answers.lock();
        let Some(answer) = answers.get(url) else {
            return Err(format!("{} is not in `allow.http`: this trial has no answer", Shown(url)));
        };
        let Reply { status, headers, body } = answer.clone()?;
        Ok(Answer { status, headers, body })
    }
}

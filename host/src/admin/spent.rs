//! Telling the site of a Gazelle which tokens finished downloads have used up: as often as it takes.

use std::sync::Arc;
use std::time::Duration;

use hyper::{HeaderMap, Method, StatusCode};
use karuta_accounts::Accounts;
use url::Url;

use super::Admin;
use crate::fetch::{Client, Protected, Request, Shown};

/// The tokens that are looked at at once: more than a call can tell.
const AT_ONCE: u32 = 200;
/// For a whole call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer, of which only the status counts.
const ANSWER: u64 = 64 << 10;
/// The pauses between two attempts.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How often it is looked whether a reload has brought a callback.
const IDLE: Duration = Duration::from_secs(60);

impl Admin {
    /// Tells the site as long as the runtime lives.
    pub async fn tell_spent(self: Arc<Self>) {
        let Some(accounts) = self.accounts.clone() else { return };
        // The configuration has checked the URL.
        let client = Arc::new(Client::new(Protected { insecure: true }));
        let mut pause = Duration::ZERO;
        loop {
            let told = match self.tell_some(&accounts, &client).await {
                Ok(0) => {
                    let _ = tokio::time::timeout(IDLE, accounts.next_spent()).await;
                    continue;
                }
                told => told,
            };
            self.metrics.told_spent(told.as_ref().copied());
            match told {
                Ok(_) => {
                    if pause > Duration::ZERO {
                        tracing::info!("the site can be told of tokens again");
                    }
                    pause = Duration::ZERO;
                }
                Err(error) => {
                    if pause.is_zero() {
                        tracing::warn!(error, "cannot tell the site that tokens are used up");
                    }
                    pause = (pause * 2).clamp(SHORTEST, LONGEST);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Tells the site of some tokens, and returns of how many; 0: of none, or there is no callback.
    async fn tell_some(&self, accounts: &Accounts, client: &Arc<Client>) -> Result<usize, String> {
        let door = self.access.gazelle();
        let Some(callback) = door.as_ref().and_then(|door| door.callback.as_ref()) else {
            return Ok(0);
        };
        let mut tokens = accounts.spent(AT_ONCE)?;
        if tokens.is_empty() {
            return Ok(0);
        }
        let (url, count) = callback.about(&tokens);
        tokens.truncate(count);
        let client = client.clone();
        let call = move || call(&client, &url);
        tokio::task::spawn_blocking(call).await.map_err(|error| error.to_string())??;
        accounts.told(tokens).await.map_err(|error| error.to_string())?;
        Ok(count)
    }
}

/// Makes a call.
fn call(client: &Client, url: &Url) -> Result<(), String> {
    let answer = client.fetch(Request {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: &[],
        timeout: TIMEOUT,
        max_size: ANSWER,
    })?;
    match answer.status {
        StatusCode::OK => Ok(()),
        status => Err(format!("{}: status {status}", Shown(url))),
    }
}

//! The host functions of control instances, with the signatures of the contract's bindings.

pub(crate) mod publisher {
    use super::super::PUBLISHED;

    pub(crate) fn publish(name: &str, data: &[u8]) -> Result<(), String> {
        PUBLISHED.with_borrow_mut(|published| {
            published.retain(|(known, _)| known != name);
            published.push((name.to_owned(), data.to_vec()));
        });
        Ok(())
    }
}

pub(crate) mod http {
    use super::super::SERVED;
    use crate::bindings::control::http::Response;

    pub(crate) fn fetch(
        _: &str,
        url: &str,
        _: &[(String, String)],
        _: &[u8],
        _: u32,
    ) -> Result<Response, String> {
        let served = SERVED.with_borrow(|served| served.get(url).cloned());
        let (status, body) = served.ok_or_else(|| format!("{url}: no such host"))?;
        Ok(Response { status, headers: Vec::new(), body })
    }
}

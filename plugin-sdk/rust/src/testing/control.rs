//! The host functions of control instances, with the signatures of the contract's bindings.

pub(crate) mod publisher {
    use super::super::{DATA, PUBLISHED};

    const NAMES: usize = 64;
    const LONGEST_NAME: usize = 64;
    const LONGEST: usize = 64 * 1024 * 1024;

    pub(crate) fn publish(name: &str, data: &[u8]) -> Result<(), String> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(format!("a name must have 1 to {LONGEST_NAME} bytes"));
        }
        if data.len() > LONGEST {
            return Err(format!("more than {LONGEST} bytes"));
        }
        if DATA.with_borrow(|sources| sources.iter().any(|(known, _)| known == name)) {
            return Err(format!("`{name}` is a data source of the configuration"));
        }
        let others = |published: &Vec<(String, _)>| {
            published.iter().filter(|(known, _)| known != name).count()
        };
        if PUBLISHED.with_borrow(others) >= NAMES {
            return Err(format!("more than {NAMES} names"));
        }
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

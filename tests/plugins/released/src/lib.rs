//! A policy built against the first released contract, all of which it uses. Every later host must
//! load it. Only tests load it.

#![cfg(target_family = "wasm")]

wit_bindgen::generate!({
    inline: "package karuta:released; world released {
        include karuta:policy/accounting-policy@0.1.0;
        export karuta:policy/peer-ranker@0.1.0;
    }",
    path: "../../../wit/released/0.1.0",
    generate_all,
});

use exports::karuta::policy::{
    announce_filter, data_sink, lifecycle, observer, peer_ranker, scrape_filter, ticker,
};
use karuta::policy::types::{Announce, Event, Scrape, Verdict};
use karuta::policy::{
    http, keyvalue, locality, log, metrics, publisher, request, response, sets, signatures, swarm,
};

struct Released;

impl lifecycle::Guest for Released {
    fn init(context: lifecycle::Context) -> Result<(), String> {
        let order = locality::Order::NearFirst;
        locality::define(&locality::Plan { prefixes: vec![16], order, far_percent: 10 })?;
        metrics::add(metrics::counter("released_total", "Instances.")?, 1);
        metrics::set(metrics::gauge("released", "Workers.")?, f64::from(context.workers));
        sets::open("listed")?;
        Ok(())
    }
}

impl announce_filter::Guest for Released {
    fn on_announce(announce: Announce) -> Verdict {
        if announce.event == Event::Stopped {
            return Verdict::Next;
        }
        if request::query_param("refuse").is_some() {
            response::fail("refused");
            response::retry_in(Some(5));
            return Verdict::Reject;
        }
        let mut seen = format!(
            "{} {} {} {}",
            request::peer_id().len(),
            request::left(),
            request::uploaded(),
            request::downloaded()
        );
        seen += &format!(
            " {:?} {:?} {:?} {:?}",
            request::path_param("passkey"),
            request::header("x-none"),
            request::credential(),
            request::attribute("none")
        );
        let same = request::client_address() == announce.address
            && request::socket_address().0 == announce.address;
        let (now, any) = (swarm::current(), swarm::lookup(announce.info_hash));
        seen += &format!(" {same} {} {}", now.leechers, any.is_some());
        locality::assign(1 << 63, 0);
        let listed = sets::open("listed").unwrap_or(u32::MAX);
        seen += &format!(
            " {} {} {:?} {} {:?}",
            sets::has_info_hash(listed, announce.info_hash),
            sets::has_string(listed, "none"),
            sets::match_address(listed, announce.address),
            sets::size(listed),
            sets::sources()
        );
        sets::refresh("listed");
        let key = signatures::load_key("{}");
        signatures::forget_key(u32::MAX);
        seen += &format!(" {} {}", key.is_err(), signatures::verify(0, "RS256", &[], &[]));
        let counted = keyvalue::increment(b"count", 1, Some(60));
        let put = keyvalue::put(b"key", b"value", None);
        seen += &format!(" {counted:?} {put:?} {:?}", keyvalue::get(b"key").map(|v| v.len()));
        keyvalue::delete(b"key");
        if log::enabled(log::Level::Info) {
            log::write(log::Level::Info, "an announce");
        }
        response::set_interval(response::interval() - 60);
        response::set_min_interval(response::min_interval() - 60);
        response::set_num_want(10);
        response::add_peer((0, 0, 0xffff, 0xc000_0201), 81, response::Place::First);
        response::set_attribute("seen", "yes");
        response::warn(&seen);
        response::remember(response::Scope::CREDENTIAL | response::Scope::EVENT, 0);
        Verdict::Accept
    }
}

impl scrape_filter::Guest for Released {
    fn on_scrape(_: Scrape) -> Verdict {
        response::hide();
        Verdict::Next
    }
}

impl data_sink::Guest for Released {
    fn on_data(_: String, _: u64, _: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

impl peer_ranker::Guest for Released {
    fn rank(_: Announce, candidates: Vec<peer_ranker::Candidate>) -> Vec<u32> {
        (0..candidates.len() as u32).rev().collect()
    }
}

impl observer::Guest for Released {
    fn observe(batch: Vec<observer::Outcome>) -> Result<(), String> {
        keyvalue::increment(b"observed", batch.len() as i64, None).map(|_| ())
    }
}

impl ticker::Guest for Released {
    fn tick(_: u64) -> Result<(), String> {
        let refused = http::fetch("GET", "https://example.com/", &[], &[], 1000).is_err();
        publisher::publish("learnt", if refused { b"refused" } else { b"fetched" })
    }
}

export!(Released);

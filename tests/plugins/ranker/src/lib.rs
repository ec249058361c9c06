//! A policy that orders peers by the request's parameter `order`. Only tests load it.

use karuta_plugin::{Announce, Candidate, Context, Error, PeerRanker, Policy, request, response};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

struct Ranker;

impl Policy for Ranker {
    type Config = Config;

    fn init(_: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl PeerRanker for Ranker {
    fn rank(&mut self, _: &Announce, candidates: &[Candidate]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..candidates.len() as u32).collect();
        let candidate = |index: &u32| candidates[*index as usize];
        match request::query_param("order").as_deref() {
            Some("ports") => order.sort_by_key(|index| candidate(index).address().port()),
            Some("seeders") => {
                order.sort_by_key(|index| {
                    (!candidate(index).is_seeder(), candidate(index).address().port())
                });
            }
            Some("labels") => order.sort_by_key(|index| candidate(index).label()),
            Some("one") => order.retain(|index| candidate(index).address().port() == 7),
            Some("garbage") => {
                order.sort_by_key(|index| candidate(index).address().port());
                let first = order[0];
                order.splice(0..0, [u32::MAX, first, first, 100_000]);
            }
            Some("trap") => panic!("it traps"),
            Some("loop") => loop {
                std::hint::black_box(());
            },
            Some("reject") => {
                let _ = response::reject("a ranker cannot reject");
            }
            _ => {}
        }
        order
    }
}

karuta_plugin::export!(Ranker: rank);

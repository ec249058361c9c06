//! What UNIT3D-Announce refuses of a query, in its order.

use karuta_plugin::request;

/// The events that it knows, in their only spelling.
const EVENTS: [&str; 6] = ["", "empty", "paused", "completed", "started", "stopped"];
/// The numbers that must be there. The tracker itself refuses an announce without the others.
const TOTALS: [&str; 3] = ["uploaded", "downloaded", "left"];

/// Returns what is wrong with the query of the request.
pub fn refusal() -> Option<String> {
    let is_number = |value: &String| value.parse::<u64>().is_ok();
    let numbers = TOTALS.into_iter().chain(["numwant"]);
    let mut numbers = numbers.map(|name| (name, request::query_param(name)));
    let is_wrong =
        |(_, value): &(_, Option<String>)| value.as_ref().is_some_and(|it| !is_number(it));
    if let Some((name, _)) = numbers.find(is_wrong) {
        return Some(format!("Invalid '{name}' (must be greater than or equal to 0)."));
    }
    if request::query_param("compact").is_some_and(|value| value != "1") {
        return Some("Your client does not support compact announces.".to_owned());
    }
    if request::query_param("event").is_some_and(|value| !EVENTS.contains(&&*value)) {
        return Some("Unsupported 'event' type.".to_owned());
    }
    let missing = TOTALS.into_iter().find(|name| request::query_param(name).is_none());
    missing.map(|name| format!("Query parameter '{name}' is missing."))
}

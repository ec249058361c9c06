//! Runs the whole story of `docs/stories/datacenter.md`: prints its tables, and writes its plots
//! into the folder given as the only argument.

use std::path::Path;
use std::process::ExitCode;

use karuta_stories::Peers;
use karuta_stories::clients::{self, near_and_far};
use karuta_stories::handed_out::{LARGE, ask_all, subnet};
use karuta_stories::plot;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: karuta-stories FOLDER");
        return ExitCode::from(2);
    };
    let write = |name: &str, figure: String| {
        let path = Path::new(&folder).join(name);
        std::fs::write(&path, figure).expect("the plot is written");
        eprintln!("{}", path.display());
    };
    write("datacenter-traffic.svg", releases());
    write("datacenter-peers.svg", answers());
    ExitCode::SUCCESS
}

/// Runs the release with real clients, with random and with near peers.
fn releases() -> String {
    println!("| peers | MB across racks | of them from outside | MB within racks | seconds |");
    println!("|---|---|---|---|---|");
    let runs = [("random", Peers::Random), ("subnet", Peers::Near)].map(|(name, peers)| {
        let release = clients::release(peers);
        let traffic = release.traffic();
        let (within, across) = near_and_far(&traffic);
        let outside: u64 = traffic.iter().map(|row| row[0]).sum();
        let [across, outside, within] = [across, outside, within].map(|bytes| bytes as f64 / 1e6);
        let seconds = release.seconds;
        println!("| {name} | {across:.0} | {outside:.0} | {within:.0} | {seconds:.0} |");
        (name, traffic)
    });
    println!();
    plot::traffic(&runs)
}

/// Measures the answers to 10 000 hosts.
fn answers() -> String {
    println!("| peers | wanted | same rack | same row | elsewhere | parts | diameter |");
    println!("|---|---|---|---|---|---|---|");
    let mut runs = Vec::new();
    for want in [30, 50] {
        for (name, policies) in [
            ("random", String::new()),
            ("[24], far 0 %", subnet("[24]", 0)),
            ("[24], far 10 %", subnet("[24]", 10)),
            ("[24, 16], far 0 %", subnet("[24, 16]", 0)),
            ("[24, 16], far 10 %", subnet("[24, 16]", 10)),
        ] {
            let run = ask_all(LARGE, want, &policies);
            let percent = |part: usize| 100.0 * part as f64 / run.all() as f64;
            let [rack, row, elsewhere] = [run.rack, run.row, run.elsewhere].map(percent);
            println!(
                "| {name} | {want} | {rack:.1} % | {row:.1} % | {elsewhere:.1} % | {} | {} |",
                run.components, run.diameter
            );
            runs.push((format!("{name}, {want} wanted"), run));
        }
    }
    println!();
    plot::shares(&runs)
}

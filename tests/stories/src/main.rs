//! Runs the story of `docs/stories/datacenter.md`: prints its tables, and writes its plots into the
//! folder that is the first argument. Further arguments choose parts: `model`, `releases`, `answers`.

use std::path::Path;
use std::process::ExitCode;

use karuta_stories::Peers;
use karuta_stories::clients::{self, Release, SIZE, Setting, near_and_far};
use karuta_stories::handed_out::{LARGE, ask_all, subnet};
use karuta_stories::model::rules::Rule;
use karuta_stories::model::transfer::{self, Outcome};
use karuta_stories::model::{EIGHT_RACKS, FOUR_RACKS, Shape};
use karuta_stories::plot;

/// How often each release with real clients is run. The figures are those of the run whose bytes
/// across racks are in the middle, and the time that is in the middle.
const RUNS: usize = 5;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: karuta-stories FOLDER [model] [releases] [answers]");
        return ExitCode::from(2);
    };
    let parts: Vec<String> = arguments.collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let write = |name: &str, figure: String| {
        let path = Path::new(&folder).join(name);
        std::fs::write(&path, figure).expect("the plot is written");
        eprintln!("{}", path.display());
    };
    if wanted("model") {
        model();
    }
    if wanted("releases") {
        let (traffic, over_time) = releases();
        write("datacenter-traffic.svg", traffic);
        write("datacenter-time.svg", over_time);
    }
    if wanted("answers") {
        write("datacenter-peers.svg", answers());
    }
    ExitCode::SUCCESS
}

/// Searches settings in the model: how long a release takes, and how much crosses racks.
fn model() {
    println!(
        "| hosts | wanted | up-links | peers | × the least across racks | seconds | × random |"
    );
    println!("|---|---|---|---|---|---|---|");
    const SLOW: Option<u64> = Some(2 << 20);
    for (shape, want, uplink) in [EIGHT_RACKS, FOUR_RACKS]
        .iter()
        .flat_map(|shape| [(*shape, 4, None), (*shape, 50, None), (*shape, 4, SLOW)])
    {
        let mut random = 0.0;
        let rule =
            |count, far_percent, seeds_first| Rule::Gateways { count, far_percent, seeds_first };
        for (name, rule) in [
            ("random", Rule::Random),
            ("subnet", Rule::Near { far_percent: 10 }),
            ("1 gateway, half far", rule(1, 50, true)),
            ("2 gateways, a tenth far", rule(2, 10, true)),
            ("2 gateways, half far", rule(2, 50, true)),
            ("2 gateways, half far, any", rule(2, 50, false)),
            ("2 gateways, three quarters far", rule(2, 75, true)),
            ("3 gateways, half far", rule(3, 50, true)),
            ("4 gateways, half far", rule(4, 50, true)),
        ] {
            let run = |seed| {
                let setting = transfer::story(shape, rule, want, 0, seed);
                transfer::run(transfer::Setting { uplink, ..setting })
            };
            let runs: Vec<Outcome> = (0..9).map(run).collect();
            assert!(runs.iter().all(|run| run.is_complete), "{name}");
            let seconds = middle(runs.iter().map(|run| run.seconds));
            let across = middle(runs.iter().map(|run| run.across as f64));
            random = if rule == Rule::Random { seconds } else { random };
            let times = across / (shape.racks as u64 * SIZE) as f64;
            let links = if uplink.is_some() { "2 MiB/s" } else { "any" };
            println!(
                "| {} × {} | {want} | {links} | {name} | {times:.2} | {seconds:.0} | {:.2} |",
                shape.racks,
                shape.hosts,
                seconds / random
            );
        }
    }
    println!();
}

fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Runs the releases with real clients. Returns the plots of their traffic.
fn releases() -> (String, String) {
    println!(
        "| hosts | wanted | peers | MB across racks | × the least | of them from outside | MB within \
         racks | seconds | × random |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut squares, mut lines) = (Vec::new(), Vec::new());
    for (shape, want, killed) in [
        (EIGHT_RACKS, 4, 0),
        (EIGHT_RACKS, 50, 0),
        (EIGHT_RACKS, 4, 2),
        (FOUR_RACKS, 4, 0),
        (FOUR_RACKS, 50, 0),
        (FOUR_RACKS, 4, 2),
    ] {
        let mut random = 0.0;
        for (name, peers) in [
            ("random", Peers::Random),
            ("subnet", Peers::Near),
            ("`gateways: 1`", Peers::Gateways(1)),
            ("`gateways: 2`", Peers::Gateways(2)),
        ] {
            let setting = Setting { shape, peers, want, killed };
            let mut runs: Vec<Release> = (0..RUNS).map(|_| clients::release(setting)).collect();
            runs.sort_by_key(|run| near_and_far(&run.traffic()).1);
            let seconds = middle(runs.iter().map(|run| run.seconds));
            random = if peers == Peers::Random { seconds } else { random };
            let run = &runs[RUNS / 2];
            row(shape, want, killed, name, run, seconds, random);
            if (want, killed) == (4, 0) {
                let name = name.trim_matches('`');
                lines.push((
                    format!("{} × {}, {name}", shape.racks, shape.hosts),
                    run.across.clone(),
                ));
                if shape.racks == EIGHT_RACKS.racks {
                    squares.push((name, run.traffic()));
                }
            }
        }
    }
    println!();
    (plot::traffic(&squares), plot::over_time(&lines))
}

fn row(
    shape: Shape,
    want: usize,
    killed: usize,
    name: &str,
    run: &Release,
    seconds: f64,
    random: f64,
) {
    let traffic = run.traffic();
    let (within, across) = near_and_far(&traffic);
    let outside: u64 = traffic.iter().map(|row| row[0]).sum();
    let times = across as f64 / (shape.racks as u64 * SIZE) as f64;
    let [across, outside, within] = [across, outside, within].map(|bytes| bytes as f64 / 1e6);
    let vanish = if killed > 0 { ", two vanish" } else { "" };
    println!(
        "| {} × {} | {want}{vanish} | {name} | {across:.0} | {times:.2} | {outside:.0} | {within:.0} | \
         {seconds:.0} | {:.2} |",
        shape.racks,
        shape.hosts,
        seconds / random
    );
}

/// Measures the answers to 10 000 hosts.
fn answers() -> String {
    println!("| peers | wanted | same rack | same row | elsewhere | gateways | parts | diameter |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut runs = Vec::new();
    for want in [30, 50] {
        for (name, policies) in [
            ("random", String::new()),
            ("[24], far 0 %", subnet("[24]", 0, 0)),
            ("[24], far 10 %", subnet("[24]", 10, 0)),
            ("[24], 2 gateways", subnet("[24]", 10, 2)),
            ("[24, 16], far 0 %", subnet("[24, 16]", 0, 0)),
            ("[24, 16], far 10 %", subnet("[24, 16]", 10, 0)),
            ("[24, 16], 2 gateways", subnet("[24, 16]", 10, 2)),
        ] {
            let run = ask_all(LARGE, want, &policies);
            let percent = |part: usize| 100.0 * part as f64 / run.all() as f64;
            let [rack, row, elsewhere] = [run.rack, run.row, run.elsewhere].map(percent);
            println!(
                "| {name} | {want} | {rack:.1} % | {row:.1} % | {elsewhere:.1} % | {} | {} | {} |",
                run.crossing, run.components, run.diameter
            );
            runs.push((format!("{name}, {want} wanted"), run));
        }
    }
    println!();
    plot::shares(&runs)
}

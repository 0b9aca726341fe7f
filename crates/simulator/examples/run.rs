use circlet_simulator::run::{self, Stop};
use circlet_simulator::scenario::{Overrides, Scenario};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let scenario = Scenario::find(&args[1], Overrides::default()).unwrap();
    let threads =
        std::num::NonZeroUsize::new(args.get(2).map_or(1, |a| a.parse().unwrap())).unwrap();
    let run = run::run(&scenario, threads, &Stop::default(), &mut |_| {}).unwrap();
    let e = run.results.events;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap()
        .to_owned();
    println!(
        "{e} events, cpu {:.2} s, wall {:.2} s, {:.2} M events per cpu s, {peak}",
        run.cpu.as_secs_f64(),
        run.wall.as_secs_f64(),
        e as f64 / run.cpu.as_secs_f64() / 1e6
    );
    for t in &run.results.traffic {
        println!("delivered {} of {}", t.delivered, t.expected);
    }
}

//! The engine alone, in this process.

use std::net::Ipv4Addr;
use std::time::Instant as Wall;

use anyhow::Result;
use postern_core::engine::Input;
use postern_core::hash::HashKey;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::RuleSet;
use postern_core::{Engine, Instant, InterfaceIndex};
use postern_e2e::frame::{Link, Mac, Payload, frame};
use postern_e2e::{Backend, DoorText, Lab, Site, gate};

use super::Effort;
use crate::arena::{GATEWAY, KNOCKS};
use crate::meter;
use crate::report::Table;
use crate::traffic::forge;

const FRAMES: u32 = 2_000_000;
const ROUNDS: usize = 5;
/// Time in the engine goes on as if so many frames came each millisecond.
const FRAMES_PER_MS: u64 = 100;

pub(super) fn measure(_: Effort) -> Result<Table> {
    meter::pin(0, meter::SUBJECT_CORE);
    let about = format!(
        "`Engine::handle` with first knocks, parsing included, in memory; {FRAMES} frames, {ROUNDS} rounds. The frame \
         with its source is made in the same loop; that part alone is subtracted."
    );
    let mut table = Table::new("micro", &about, &["sources", "ns a packet, best", "ns a packet, median"]);
    let rules = rules()?;
    for sources in [1_u32, 1000, 1_000_000] {
        let mut each: Vec<f64> = (0..ROUNDS).map(|_| round(&rules, sources)).collect();
        each.sort_by(f64::total_cmp);
        table.row(vec![sources.to_string(), format!("{:.1}", each[0]), format!("{:.1}", each[ROUNDS / 2])]);
    }
    Ok(table)
}

fn rules() -> Result<RuleSet> {
    let lab = Lab::new()?;
    let store = lab.directory().join("micro.store");
    let steps = KNOCKS.map(Payload::syn);
    gate::compile(&Site::new(Backend::Nftables).door(DoorText::new("service", &["tcp/22"], &steps)), &store)?;
    let site = postern::compile::read_back(&std::fs::read(&store)?).map_err(anyhow::Error::msg)?;
    site.rules().map_err(|error| anyhow::anyhow!("the engine refuses them: {error:?}"))
}

/// Nanoseconds a frame.
fn round(rules: &RuleSet, sources: u32) -> f64 {
    let mut engine: Box<Engine> = Box::new(Engine::new(rules.clone(), HashKey::new([7; 16])));
    let with = timed(sources, |bytes, now| {
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::Ethernet, bytes };
        let effects = engine.handle(Input::Frame(frame), now);
        assert!(effects.is_empty(), "a first knock opens nothing");
    });
    let without = timed(sources, |bytes, _| {
        std::hint::black_box(bytes);
    });
    (with - without).max(0.0)
}

fn timed(sources: u32, mut take: impl FnMut(&[u8], Instant)) -> f64 {
    let link = Link { source: Mac([2; 6]), target: Mac([4; 6]), tags: Vec::new() };
    let source = Ipv4Addr::new(10, 0, 0, 1);
    let mut bytes = frame(&link, source.into(), GATEWAY.into(), 40_000, Payload::syn(KNOCKS[0]));
    let started = Wall::now();
    for number in 0..FRAMES {
        let [_, b, c, d] = (number % sources).to_be_bytes();
        forge(&mut bytes, [10, b, c, d]);
        take(&bytes, Instant::from_millis(1000 + u64::from(number) / FRAMES_PER_MS));
    }
    started.elapsed().as_nanos() as f64 / f64::from(FRAMES)
}

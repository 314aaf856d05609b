//! The process whose instructions are counted, see `postern_sim::instructions`; without arguments, the
//! figures: `cargo run --release -p postern-sim --bin counted`.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        print!("{}", postern_sim::instructions::table()?);
        return Ok(());
    }
    postern_sim::instructions::be_counted(&arguments)
}

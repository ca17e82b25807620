//! `framesim completions` and `framesim man`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::Failure;

/// A script for `shell`. It is made in memory first, because clap's own printing panics on a closed pipe.
pub fn completions(shell: Shell, screen: &mut impl Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "framesim", &mut script);
    Ok(screen.write_all(&script)?)
}

/// The manual page in roff: `framesim man > framesim.1`. The commands follow their parent on the same page.
pub fn man(screen: &mut impl Write) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(screen)?;
    for part in command.get_subcommands().filter(|part| !part.is_hide_set() && part.get_name() != "help") {
        let page = clap_mangen::Man::new(part.clone());
        page.render_synopsis_section(screen)?;
        page.render_description_section(screen)?;
        page.render_options_section(screen)?;
    }
    Ok(())
}

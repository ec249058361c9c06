//! The manual pages and the shell completions of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// What a page says at its foot.
const VERSION: &str = concat!("karuta ", env!("CARGO_PKG_VERSION"));

/// Sections of the first page, which the command line does not say itself.
const SECTIONS: [(&str, &str); 3] = [
    (
        "EXIT STATUS",
        "0: success. 1: failure. 2: wrong usage. 78: wrong configuration, or a policy that does not load.",
    ),
    (
        "SIGNALS",
        "karuta run shuts down at SIGTERM and SIGINT, and reads its configuration again at SIGHUP.",
    ),
    ("SEE ALSO", "operating.md and configuration.md in /usr/share/doc/karuta."),
];

/// Writes a page for each command, and completions for bash, zsh and fish, into a folder that is
/// laid out like `/usr/share`. Creates the folders that are missing.
pub fn write(command: Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/vendor-completions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ] {
        let mut text = Vec::new();
        generate(shell, &mut command.clone(), &name, &mut text);
        write_file(&folder.join(file), &text)?;
    }
    // `karuta-help-run(1)` would say nothing.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(&command, true, &folder.join("man/man1"))
}

/// Writes the page of a command and those of its subcommands.
fn pages(command: &Command, is_first: bool, folder: &Path) -> io::Result<()> {
    let page = Man::new(command.clone()).source(VERSION).manual("Karuta");
    let mut text = Vec::new();
    page.render(&mut text)?;
    if is_first {
        let mut more = Roff::default();
        for (heading, body) in SECTIONS {
            more.control("SH", [heading]);
            more.text([roman(body)]);
        }
        more.to_writer(&mut text)?;
    }
    write_file(&folder.join(page.get_filename()), &text)?;
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages(subcommand, false, folder)?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page_and_is_completed() {
        let command = Command::new("it").subcommands([
            Command::new("outer").subcommand(Command::new("inner")),
            Command::new("secret").hide(true),
        ]);
        let folder = tempfile::tempdir().unwrap();
        write(command, folder.path()).unwrap();
        let pages = fs::read_dir(folder.path().join("man/man1")).unwrap();
        let mut pages: Vec<_> = pages.map(|page| page.unwrap().file_name()).collect();
        pages.sort();
        assert_eq!(pages, ["it-outer-inner.1", "it-outer.1", "it.1"]);
        for file in [
            "bash-completion/completions/it",
            "zsh/vendor-completions/_it",
            "fish/vendor_completions.d/it.fish",
        ] {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            assert!(text.contains("inner"), "{file}");
        }
        let page = fs::read_to_string(folder.path().join("man/man1/it.1")).unwrap();
        assert!(page.contains("EXIT STATUS"), "{page}");
    }
}

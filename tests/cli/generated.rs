//! What is generated for shells and for man: taken by bash and man themselves.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::run;

/// What bash proposes for the last of these words.
#[track_caller]
fn proposed(words: &[&str]) -> Vec<String> {
    let script = run(&["completions", "bash"], b"");
    assert_eq!((script.code, &*script.stderr), (Some(0), ""));
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ppserver.bash");
    fs::write(&path, &script.stdout).unwrap();
    // As readline does: `complete -p` names the function, which is told the words. compopt is for readline alone.
    let asked = "set -eu -o pipefail; source \"$1\"; shift
        of=$(complete -p ppserver); [[ $of =~ -F\\ ([^ ]+) ]]
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
        set +eu
        compopt() { :; }
        \"${BASH_REMATCH[1]}\" ppserver \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-c", asked, "bash"]).arg(&path).args(words);
    let output = command.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_words_and_files() {
    assert_eq!(proposed(&["ppserver", "de"]), ["demo", "decode"]);
    assert_eq!(proposed(&["ppserver", "check", "--form"]), ["--format"]);
    assert_eq!(proposed(&["ppserver", "check", "--format", ""]), ["text", "json"]);
    assert_eq!(proposed(&["ppserver", "run", "--untrusted", "r"]), ["reject"]);
    assert_eq!(proposed(&["ppserver", "upstreams", "s"]), ["set"]);
    assert_eq!(proposed(&["ppserver", "check", "-c", "pps"]), ["ppserver.bash"], "a file");
}

#[test]
fn each_shell_is_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], b"");
        assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{shell}");
        for command in ["demo", "healthcheck", "completions", "man"] {
            assert!(script.text().contains(command), "{shell}: {command}");
        }
    }
    run(&["completions", "csh"], b"").assert_refused(&["csh", "bash", "zsh", "fish"]);
}

#[test]
fn man_takes_every_page_without_a_warning() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("share/man1");
    let written = run(&["man", "--out", out.to_str().unwrap()], b"");
    assert_eq!((written.code, &*written.stderr), (Some(0), ""));
    let pages: Vec<_> = written.text().lines().collect();
    let names = ["ppserver.1", "ppserver-run.1", "ppserver-upstreams-set.1"];
    for name in names {
        assert!(pages.iter().any(|page| page.ends_with(&format!("/{name}"))), "{name}: {pages:?}");
    }
    for page in &pages {
        let mut man = Command::new("man");
        // Whatever it warns of goes to stderr, and not into its exit code.
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(page);
        let shown = man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").output();
        let shown = shown.expect("apt-get install man-db");
        assert_eq!((shown.status.success(), &*shown.stderr), (true, &b""[..]), "{page}: {shown:?}");
        let text = String::from_utf8(shown.stdout).unwrap();
        for heading in ["NAME\n", "SYNOPSIS\n", "DESCRIPTION\n", "OPTIONS\n"] {
            assert!(text.contains(heading), "{page}: {heading}{text}");
        }
        let (header, footer) = (text.lines().next(), text.trim_end().lines().last());
        assert!(header.is_some_and(|line| line.contains(" ppserver manual ")), "{page}: {text}");
        let version = concat!("ppserver ", env!("CARGO_PKG_VERSION"), " ");
        assert!(footer.is_some_and(|line| line.starts_with(version)), "{page}: {text}");
    }
}

#[test]
fn man_prints_the_page_of_the_program_which_names_those_of_its_commands() {
    let page = run(&["man"], b"");
    assert_eq!((page.code, &*page.stderr), (Some(0), ""));
    for command in ["run", "check", "decode", "top", "man"] {
        let name = format!("ppserver\\-{command}(1)");
        assert!(page.text().contains(&name), "{name}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let failed = run(&["man", "--out", "/dev/null/man1"], b"");
    assert_eq!((failed.code, failed.text()), (Some(1), ""));
    assert!(failed.stderr.contains("/dev/null/man1"), "{}", failed.stderr);
}

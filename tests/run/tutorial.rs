//! The tutorial, played as its reader would.

use std::path::Path;
use std::process::Command;

#[test]
fn every_step_of_the_tutorial_answers_as_it_says() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is not here; install it");
        eprintln!("skipped: curl is not here");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tutorial/run.sh");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let played =
        Command::new("bash").arg(script).arg(env!("CARGO_BIN_EXE_syncline")).env("TUTORIAL_PORT", port.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
}

//! The demo tells the same story every time.

use std::process::Command;

#[test]
fn the_demo_tells_its_story() {
    let played = Command::new(env!("CARGO_BIN_EXE_syncline")).arg("demo").output().unwrap();
    let story = String::from_utf8(played.stdout).unwrap();
    assert_eq!(played.status.code(), Some(0), "{story}{}", String::from_utf8_lossy(&played.stderr));
    assert!(!story.contains('\u{1b}'), "no colours in a pipe");
    let scenes: Vec<&str> = story.split("\n\n").collect();
    let scene = |title: &str| *scenes.iter().find(|scene| scene.starts_with(title)).unwrap_or_else(|| panic!("no {title}: {story}"));
    let says = |title: &str, lines: &[&str]| {
        let scene = scene(title);
        for line in lines {
            assert!(scene.lines().any(|other| other.trim() == *line), "{line:?} is not in\n{scene}");
        }
    };
    says("1.", &["oem  oemD1  label=Air handler  serial_no=SN-001  warranty_until=2029-06-30"]);
    says("2.", &["oem  oemD1  label=Air handler 1  serial_no=SN-001  warranty_until=2029-06-30"]);
    assert!(scene("2.").contains("echo                oem sent device oemD1"));
    says("3.", &["Why: name stays 'Air handler north' from bms (source_priority)."]);
    says(
        "4.",
        &[
            "bms  bmsS1  device_id=bmsD2  kind=temperature  tag=T-7",
            "oem  oemD2  installed_under=oemD1  label=Pump  serial_no=SN-002",
            "oem  oemS1  mounted_on=oemD2  plate=T-7  quantity=temperature",
        ],
    );
    says(
        "5.",
        &[
            "Why: taken: warranty_until; not applied: name 'Air handler north', had not seen rev 5.",
            "oem  oemD1  label=Air handler south  serial_no=SN-001  warranty_until=2031-06-30",
        ],
    );
}

//! QEMU with the firmware `sensor-node`; a TCP connection carries its serial line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

/// The result of a step of the demo.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Builds the firmware and returns its path.
pub(crate) async fn build() -> Outcome<PathBuf> {
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/firmware");
    println!("building the firmware: tools/firmware build sensor-node");
    let built =
        Command::new(tool).args(["build", "sensor-node"]).stderr(Stdio::piped()).output().await?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr).into_owned();
        return Err(format!(
            "the firmware does not build; `tools/firmware install` installs what it needs\n{why}"
        )
        .into());
    }
    Ok(PathBuf::from(String::from_utf8(built.stdout)?.trim()))
}

/// A running microcontroller. Dropping it ends QEMU.
pub(crate) struct Microcontroller(Child);

impl Microcontroller {
    pub(crate) fn start(firmware: &Path, line: SocketAddr) -> Outcome<Self> {
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-serial", &format!("tcp:{line},nodelay=on")])
            .arg("-kernel")
            .arg(firmware)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let child = qemu.spawn().map_err(|error| {
            format!("cannot start qemu-system-arm: {error}; `tools/firmware install` installs it on Debian")
        })?;
        Ok(Self(child))
    }

    /// Waits until QEMU exits without a request, which is an error, and returns its status.
    pub(crate) async fn exited(&mut self) -> String {
        self.0
            .wait()
            .await
            .map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string())
    }

    /// Cuts the power: kills QEMU.
    pub(crate) async fn stop(&mut self) -> std::io::Result<()> {
        self.0.kill().await
    }
}

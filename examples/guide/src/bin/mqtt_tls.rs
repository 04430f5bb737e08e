//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

fn connector(password: &str) -> MqttConnector {
    MqttConnector::new("mqtts://broker.example") // port 8883 unless the URL has another one
        .client_id("gateway-7")
        .credentials("gateway-7", password)
        .ca_file("/etc/own/ca.pem")
        .client_certificate("/etc/own/client.pem", "/etc/own/client-key.pem")
}

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(connector("secret"));
    builder.configure::<f32>("temp", |reg| {
        reg.buffer(BufferCfg::latest()).written_from_outside().link_to("mqtt://room/temp", Json);
    });
    let graph = builder.graph();
    print!("{graph}");
    // `build()` returns the same findings. This machine has no such files.
    if let Err(findings) = graph.check() {
        for finding in findings.iter() {
            println!("{}", finding.problem);
        }
    }
    Ok(())
}

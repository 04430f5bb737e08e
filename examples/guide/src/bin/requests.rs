//! A program of the guide: docs/guide/src.
use aimdb::prelude::*;

#[derive(Clone)]
struct Request {
    id: u32,
    celsius: f32,
}

#[derive(Clone)]
struct Response {
    id: u32,
    fahrenheit: Result<f32, &'static str>,
}

/// The part of the program that answers. It may await a device or a service between the two.
async fn convert<R: SendRuntime>(
    _ctx: RuntimeContext<R>,
    requests: Consumer<Request, R>,
    responses: Producer<Response, R>,
) -> Result<(), BoxError> {
    let mut requests = requests.subscribe()?;
    while let Ok(Request { id, celsius }) = requests.recv().await {
        let possible = celsius >= -273.15;
        let fahrenheit =
            if possible { Ok(celsius * 1.8 + 32.0) } else { Err("below the absolute zero") };
        responses.produce(Response { id, fahrenheit }).await?;
    }
    Ok(())
}

/// The part of the program that asks. It subscribes before it asks, so that it cannot miss the response.
async fn ask<R: SendRuntime>(
    db: &AimDb<R>,
    id: u32,
    celsius: f32,
) -> Result<Result<f32, &'static str>, Box<dyn std::error::Error>> {
    let mut responses = db.consumer::<Response>("response")?.subscribe()?;
    db.producer("request")?.produce(Request { id, celsius }).await?;
    loop {
        let response = responses.recv().await?;
        if response.id == id {
            return Ok(response.fahrenheit);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.configure::<Request>("request", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
    });
    builder.configure::<Response>("response", |reg| {
        reg.buffer(BufferCfg::ring(64)).read_from_outside();
        reg.processor(input::<Request>("request"), convert);
    });
    let db = builder.build()?;
    db.start();
    // Two callers at once: each waits for the response to its own request.
    let (warm, impossible) = tokio::try_join!(ask(&db, 1, 21.5), ask(&db, 2, -300.0))?;
    println!("21.5 °C: {warm:?}");
    println!("-300 °C: {impossible:?}");
    assert!(db.shutdown(Duration::from_secs(5)).await.is_clean());
    Ok(())
}

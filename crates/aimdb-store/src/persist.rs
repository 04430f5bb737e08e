//! Records that outlive the process.

use std::time::Duration;

use aimdb_core::{
    BoxError, Consumer, Decode, Encode, Event, Incoming, Record, Registrar, RuntimeContext,
};
use aimdb_tokio_adapter::TokioAdapter;

use crate::backend::RecordId;
use crate::error::{Form, StoreError};
use crate::keep::Keep;
use crate::names::{HISTORY, RESTORE};
use crate::store::Store;
use crate::writer::{Command, unix_now};

/// Calls of the registrar for a record that outlives the process in a [`Store`].
///
/// Each adds a tap, which the graph and the health show. A mailbox has neither: its one taker has its commands.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, DbResult, Json};
/// use aimdb_store::{Keep, Persist, Store};
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::in_memory(); // Store::open("plant.db")?
/// let mut builder = AimDbBuilder::on(TokioAdapter);
/// builder.service(store.clone());
/// builder.configure::<f32>("config.setpoint", |reg| {
///     reg.buffer(BufferCfg::latest()).written_from_outside().restore_or(&store, Json, 20.0);
/// });
/// builder.configure::<f32>("boiler.temperature", |reg| {
///     reg.buffer(BufferCfg::queue(64)).written_from_outside().history(&store, Json, Keep::values(100_000));
/// });
/// # assert!(builder.graph().to_string().contains("store history"));
/// # Ok(())
/// # }
/// ```
pub trait Persist<T> {
    /// The newest stored value is the record's first value, before any stage runs, and each newer one is stored.
    ///
    /// Of values that come faster than the store writes, it stores the newest. A stored value that does not decode is a finding:
    /// the build fails, and the value stays as it is.
    #[track_caller]
    fn restore<C>(&mut self, store: &Store, codec: C) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync;

    /// [`restore`](Self::restore), with a first value for the first time.
    #[track_caller]
    fn restore_or<C>(&mut self, store: &Store, codec: C, first: T) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync;

    /// [`restore`](Self::restore) of a record whose form has changed: a stored value that `codec` does not decode, or that
    /// another codec has encoded, is decoded by `old` and becomes a new one by `migrate`.
    #[track_caller]
    fn restore_with<Old, D, C>(
        &mut self,
        store: &Store,
        codec: C,
        old: D,
        migrate: impl FnOnce(Old) -> T,
    ) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
        D: Decode<Old>;

    /// Stores each value of the record.
    ///
    /// A queue keeps values for the store, and holds its writers back if the storage is slower than they are: none is lost. Of
    /// another buffer the store may miss values, whose number is a gap in the history.
    #[track_caller]
    fn history<C>(&mut self, store: &Store, codec: C, keep: Keep) -> &mut Self
    where
        C: Encode<T> + Clone + Sync;
}

impl<T: Record> Persist<T> for Registrar<'_, T, TokioAdapter> {
    #[track_caller]
    fn restore<C>(&mut self, store: &Store, codec: C) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        if let Some(value) = stored::<T, _>(store, self.key(), &codec, no_migration) {
            self.initial(value);
        }
        keep_newest(self, store, codec)
    }

    #[track_caller]
    fn restore_or<C>(&mut self, store: &Store, codec: C, first: T) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        let value = stored(store, self.key(), &codec, no_migration).unwrap_or(first);
        self.initial(value);
        keep_newest(self, store, codec)
    }

    #[track_caller]
    fn restore_with<Old, D, C>(
        &mut self,
        store: &Store,
        codec: C,
        mut old: D,
        migrate: impl FnOnce(Old) -> T,
    ) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
        D: Decode<Old>,
    {
        let migrated = |message: &Incoming<'_>| {
            Some(old.decode(message).map(migrate).map_err(|error| error.to_string()))
        };
        if let Some(value) = stored(store, self.key(), &codec, migrated) {
            self.initial(value);
        }
        keep_newest(self, store, codec)
    }

    #[track_caller]
    fn history<C>(&mut self, store: &Store, codec: C, keep: Keep) -> &mut Self
    where
        C: Encode<T> + Clone + Sync,
    {
        store.forget_findings(self.key(), HISTORY);
        if let Some(fault) = keep.fault() {
            store.add_finding(
                self.key(),
                HISTORY,
                format_args!("its history keeps nothing: {fault}"),
                "set a limit above zero, or leave `.history(…)` away",
            );
        }
        let store = store.clone();
        self.tap(move |ctx, consumer| append_all(ctx, consumer, store, codec, keep)).named(HISTORY)
    }
}

/// No other form to try.
fn no_migration<T>(_: &Incoming<'_>) -> Option<Result<T, String>> {
    None
}

/// The form in which a codec stores values of `T`.
fn form_of<T, C: Encode<T>>(codec: &C) -> Form {
    Form { type_name: std::any::type_name::<T>().to_owned(), codec: codec.media_type().to_owned() }
}

/// The stored value of a record, if there is one. One that cannot be used is a finding of the store.
fn stored<T, C>(
    store: &Store,
    key: &str,
    codec: &C,
    migrate: impl FnOnce(&Incoming<'_>) -> Option<Result<T, String>>,
) -> Option<T>
where
    C: Encode<T> + Decode<T> + Clone,
{
    store.forget_findings(key, RESTORE);
    let name = key.to_owned();
    let found = store.writer().ask(move |backend| {
        let Some((record, form)) = backend.find(&name)? else { return Ok(None) };
        Ok(backend.newest(record)?.map(|(at, value)| (form, at, value)))
    });
    let (form, at, bytes) = match found {
        Ok(found) => found?,
        Err(error) => {
            store.add_finding(
                key,
                RESTORE,
                format_args!("its stored value cannot be read: {error}"),
                "see whether the file is damaged",
            );
            return None;
        }
    };
    let message = Incoming::new(key, &bytes);
    let expected = form_of::<T, C>(codec);
    // Bytes of another codec may decode by chance.
    let decoded = if form.codec == expected.codec {
        codec.clone().decode(&message).map_err(|error| error.to_string())
    } else {
        Err("another codec has encoded it".to_owned())
    };
    let value = decoded.or_else(|reason| migrate(&message).unwrap_or(Err(reason)));
    match value {
        Ok(value) => {
            store.note_restored(key, at);
            Some(value)
        }
        Err(reason) => {
            let problem =
                format!("its stored value, {form}, is no value of {expected} any more: {reason}");
            let help = "name the old form by `.restore_with(&store, codec, old_codec, |old| …)`, or remove the value from the file";
            store.add_finding(key, RESTORE, problem, help);
            None
        }
    }
}

#[track_caller]
fn keep_newest<'r, 'b, T: Record, C>(
    registrar: &'r mut Registrar<'b, T, TokioAdapter>,
    store: &Store,
    codec: C,
) -> &'r mut Registrar<'b, T, TokioAdapter>
where
    C: Encode<T> + Clone + Sync,
{
    let store = store.clone();
    registrar.tap(move |ctx, consumer| store_newest(ctx, consumer, store, codec)).named(RESTORE)
}

/// The pause between attempts to find a record in a storage that does not work.
const PAUSE: Duration = Duration::from_secs(1);

/// Finds or makes the record in the storage, once that works.
async fn open<T, C: Encode<T>>(
    ctx: &RuntimeContext<TokioAdapter>,
    store: &Store,
    codec: &C,
) -> Result<RecordId, BoxError> {
    store.check_service()?;
    loop {
        let (key, form) = (ctx.record().to_owned(), form_of::<T, C>(codec));
        let found = store.writer().ask_later(move |backend| backend.record(&key, &form)).await;
        match found {
            Ok((record, _)) => return Ok(record),
            // The service says when the storage fails. A shutdown ends the stage.
            Err(StoreError::Storage { .. }) if !ctx.is_stopping() => ctx.time().sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn store_newest<T: Record, C>(
    ctx: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    store: Store,
    mut codec: C,
) -> Result<(), BoxError>
where
    C: Encode<T>,
{
    let mut reader = consumer.subscribe()?;
    if store.has_both(ctx.record()) {
        // The stage of the history stores the newest value, too.
        while reader.recv().await.is_ok() {}
        return Ok(());
    }
    let is_restored = store.restored(ctx.record()).is_some();
    let record = open::<T, C>(&ctx, &store, &codec).await?;
    let mut received = 0;
    while let Ok(mut value) = reader.recv().await {
        received += 1;
        while let Ok(newer) = reader.try_recv() {
            (value, received) = (newer, received + 1);
        }
        // The first value of a restored record is stored already, with the time of then.
        if is_restored && received + reader.lagged() == 1 {
            continue;
        }
        let mut bytes = Vec::new();
        match codec.encode(&value, &mut bytes) {
            Ok(()) => store.writer().give_newest(record, unix_now(), bytes),
            Err(error) => {
                ctx.log().warn(format_args!("a value has no encoding and is not stored: {error}"))
            }
        }
    }
    Ok(())
}

async fn append_all<T: Record, C>(
    ctx: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    store: Store,
    mut codec: C,
    keep: Keep,
) -> Result<(), BoxError>
where
    C: Encode<T>,
{
    let mut reader = consumer.subscribe()?;
    let record = open::<T, C>(&ctx, &store, &codec).await?;
    let writer = store.writer();
    writer.give(Command::Keep { record, keep }).await?;
    // The first value of a restored record is in its history already.
    let mut is_restored = store.restored(ctx.record()).is_some();
    let is_newest = store.has_both(ctx.record());
    while let Ok(event) = reader.next_event().await {
        let first = std::mem::take(&mut is_restored);
        let mut bytes = Vec::new();
        let (missed, encoded) = match event {
            Event::Value(_) if first => continue,
            Event::Value(value) => (0, Some(codec.encode(&value, &mut bytes))),
            Event::Lagged(missed) => (missed - u64::from(first), None),
        };
        // A value without an encoding is one that the history misses.
        let (missed, value) = match encoded {
            Some(Ok(())) => (missed, Some(bytes)),
            Some(Err(error)) => {
                ctx.log().warn(format_args!("a value has no encoding and is not stored: {error}"));
                (missed + 1, None)
            }
            None => (missed, None),
        };
        let at = unix_now();
        if missed > 0 {
            writer
                .give(Command::Append { record, at, value: None, missed, is_newest: false })
                .await?;
        }
        if value.is_some() {
            writer.give(Command::Append { record, at, value, missed: 0, is_newest }).await?;
        }
    }
    Ok(())
}

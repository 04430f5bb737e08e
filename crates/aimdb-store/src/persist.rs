//! Records that outlive the process.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{
    BoxError, Consumer, Decode, Encode, Event, Incoming, Record, Registrar, RuntimeContext,
};
use aimdb_tokio_adapter::TokioAdapter;

use crate::backend::{Newest, RecordId};
use crate::error::{Form, StoreError};
use crate::keep::Keep;
use crate::names::{HISTORY, RESTORE};
use crate::store::{Origin, Plan, Store};
use crate::writer::{Command, unix_now};

/// Calls of the registrar for a record that outlives the process in a [`Store`].
///
/// Each adds a tap, which the graph and the health show. A mailbox can have neither, which is a finding: its one taker has its
/// commands. A record that has both has one codec for both.
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
    /// Of values that come faster than the store writes, it stores the newest. A value that the codec encodes and does not decode,
    /// as NaN in JSON, is not stored, and the log says so. A stored value that does not decode is a finding: the build fails, and
    /// the value stays as it is.
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
        C: Encode<T> + Decode<T> + Clone + Sync;
}

impl<T: Record> Persist<T> for Registrar<'_, T, TokioAdapter> {
    #[track_caller]
    fn restore<C>(&mut self, store: &Store, codec: C) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        let plan = begin_with(self, store, &codec, no_migration, None);
        keep_newest(self, store, codec, plan)
    }

    #[track_caller]
    fn restore_or<C>(&mut self, store: &Store, codec: C, first: T) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        let plan = begin_with(self, store, &codec, no_migration, Some(first));
        keep_newest(self, store, codec, plan)
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
        let plan = begin_with(self, store, &codec, migrated, None);
        keep_newest(self, store, codec, plan)
    }

    #[track_caller]
    fn history<C>(&mut self, store: &Store, codec: C, keep: Keep) -> &mut Self
    where
        C: Encode<T> + Decode<T> + Clone + Sync,
    {
        let plan = store.declare_history(self.key(), codec.media_type());
        if let Some(fault) = keep.fault() {
            store.add_finding(
                self.key(),
                HISTORY,
                format_args!("its history keeps nothing: {fault}"),
                "set a limit above zero, or leave `.history(…)` away",
            );
        }
        let store = store.clone();
        self.tap(move |ctx, consumer| append_all(ctx, consumer, (store, plan), codec, keep))
            .named(HISTORY)
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

/// Gives the record its stored value as the first one, or another one if there is none. A stored value that cannot be used is a
/// finding of the store.
#[track_caller]
fn begin_with<T: Record, C>(
    registrar: &mut Registrar<'_, T, TokioAdapter>,
    store: &Store,
    codec: &C,
    migrate: impl FnOnce(&Incoming<'_>) -> Option<Result<T, String>>,
    first: Option<T>,
) -> Arc<Plan>
where
    C: Encode<T> + Decode<T> + Clone,
{
    let plan = store.declare_restore(registrar.key(), codec.media_type());
    let value = stored(store, &plan, registrar.key(), codec, migrate).or(first);
    if let Some(value) = value {
        store.note_initial(registrar.key());
        registrar.initial(value);
    }
    plan
}

/// The stored value of a record, if there is one that can be used.
fn stored<T, C>(
    store: &Store,
    plan: &Plan,
    key: &str,
    codec: &C,
    migrate: impl FnOnce(&Incoming<'_>) -> Option<Result<T, String>>,
) -> Option<T>
where
    C: Encode<T> + Decode<T> + Clone,
{
    let newest = match store.stored(key) {
        Ok(found) => found?,
        Err(error) => {
            let problem = format_args!("its stored value cannot be read: {error}");
            store.add_finding(key, RESTORE, problem, "see whether the file is damaged");
            return None;
        }
    };
    let decoded = newest.decode(key, &mut codec.clone());
    let is_migrated = decoded.is_err();
    let message = Incoming::new(key, &newest.value);
    match decoded.or_else(|reason| migrate(&message).unwrap_or(Err(reason))) {
        Ok(value) => {
            plan.note_restored(Origin { at: newest.at, is_migrated });
            Some(value)
        }
        Err(reason) => {
            let (stored, expected) = (&newest.form, form_of::<T, C>(codec));
            let problem =
                format!("its stored value, {stored}, is no value of {expected} any more: {reason}");
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
    plan: Arc<Plan>,
) -> &'r mut Registrar<'b, T, TokioAdapter>
where
    C: Encode<T> + Decode<T> + Clone + Sync,
{
    let store = store.clone();
    registrar
        .tap(move |ctx, consumer| store_newest(ctx, consumer, (store, plan), codec))
        .named(RESTORE)
}

/// The pause between attempts to find a record in a storage that does not work.
const PAUSE: Duration = Duration::from_secs(1);

/// Finds or makes the record in the storage, once that works.
async fn open(
    ctx: &RuntimeContext<TokioAdapter>,
    store: &Store,
    rows: Option<Form>,
) -> Result<RecordId, BoxError> {
    store.check_service()?;
    let mut is_first = true;
    loop {
        let (key, rows) = (ctx.record().to_owned(), rows.clone());
        let found =
            store.writer().ask_later(move |backend| backend.record(&key, rows.as_ref())).await;
        match found {
            Ok(record) => return Ok(record),
            Err(error @ StoreError::Storage { .. }) if !ctx.is_stopping() => {
                if std::mem::take(&mut is_first) {
                    ctx.log().error(format_args!(
                        "nothing is stored yet, and it is tried again: {error}"
                    ));
                }
                ctx.time().sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A newest value of these bytes, if they can be restored.
fn newest_of<T, C: Encode<T> + Decode<T>>(
    ctx: &RuntimeContext<TokioAdapter>,
    codec: &mut C,
    form: &Arc<Form>,
    value: Vec<u8>,
    at: i64,
) -> Option<Newest> {
    let newest = Newest { form: Arc::clone(form), at, value };
    match newest.decode::<T, _>(ctx.record(), codec) {
        Ok(_) => Some(newest),
        Err(reason) => {
            ctx.log()
                .warn(format_args!("a value could not be restored, and is not stored: {reason}"));
            None
        }
    }
}

/// The bytes of a value; `None` if it has none, which the log says.
fn bytes_of<T, C: Encode<T>>(
    ctx: &RuntimeContext<TokioAdapter>,
    codec: &mut C,
    value: &T,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match codec.encode(value, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            ctx.log().warn(format_args!("a value has no encoding and is not stored: {error}"));
            None
        }
    }
}

async fn store_newest<T: Record, C>(
    ctx: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    (store, plan): (Store, Arc<Plan>),
    mut codec: C,
) -> Result<(), BoxError>
where
    C: Encode<T> + Decode<T>,
{
    let mut reader = consumer.subscribe()?;
    let origin = plan.origin();
    if plan.has_both() {
        // The stage of the history stores the newest value, too.
        while reader.recv().await.is_ok() {}
        return Ok(());
    }
    let form = Arc::new(form_of::<T, C>(&codec));
    let record = open(&ctx, &store, None).await?;
    let mut received = 0;
    while let Ok(mut value) = reader.recv().await {
        received += 1;
        while let Ok(newer) = reader.try_recv() {
            (value, received) = (newer, received + 1);
        }
        // The first value of a restored record is stored already, with the time of then; one that was migrated, in another form.
        let is_first = received + reader.lagged() == 1;
        let at = match origin {
            Some(Origin { is_migrated: false, .. }) if is_first => continue,
            Some(Origin { at, is_migrated: true }) if is_first => at,
            _ => unix_now(),
        };
        let bytes = bytes_of(&ctx, &mut codec, &value);
        if let Some(newest) =
            bytes.and_then(|bytes| newest_of::<T, _>(&ctx, &mut codec, &form, bytes, at))
        {
            store.writer().give_newest(record, newest)?;
        }
    }
    Ok(())
}

async fn append_all<T: Record, C>(
    ctx: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    (store, plan): (Store, Arc<Plan>),
    mut codec: C,
    keep: Keep,
) -> Result<(), BoxError>
where
    C: Encode<T> + Decode<T>,
{
    let mut reader = consumer.subscribe()?;
    let (mut origin, has_both) = (plan.origin(), plan.has_both());
    let form = Arc::new(form_of::<T, C>(&codec));
    let record = open(&ctx, &store, Some((*form).clone())).await?;
    let writer = store.writer();
    writer.give(Command::Keep { record, keep }).await?;
    while let Ok(event) = reader.next_event().await {
        // The first value of a restored record is in its history already.
        let first = origin.take();
        let (missed, bytes) = match event {
            Event::Value(value) if first.is_some() => {
                if let Some(Origin { at, is_migrated: true }) = first
                    && let Some(bytes) = bytes_of(&ctx, &mut codec, &value)
                    && let Some(newest) = newest_of::<T, _>(&ctx, &mut codec, &form, bytes, at)
                {
                    writer.give_newest(record, newest)?;
                }
                continue;
            }
            // A value without an encoding is one that the history misses.
            Event::Value(value) => match bytes_of(&ctx, &mut codec, &value) {
                Some(bytes) => (0, Some(bytes)),
                None => (1, None),
            },
            Event::Lagged(missed) => (missed - u64::from(first.is_some()), None),
        };
        let at = unix_now();
        if missed > 0 {
            let gap = Command::Append { record, at, value: None, missed, newest: None };
            writer.give(gap).await?;
        }
        if let Some(bytes) = bytes {
            let newest = match has_both {
                true => newest_of::<T, _>(&ctx, &mut codec, &form, bytes.clone(), at),
                false => None,
            };
            let value = Some(bytes);
            writer.give(Command::Append { record, at, value, missed: 0, newest }).await?;
        }
    }
    Ok(())
}

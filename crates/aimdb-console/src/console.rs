//! The console as a service of a database.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use aimdb_core::service::Service;
use aimdb_core::{BoxError, Finding, Graph, Rule, RuntimeContext, WeakAimDb};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::watch;

use crate::app::{App, Limits, Token};
use crate::caller::host_name;
use crate::grants::Grants;
use crate::journal::Journal;
use crate::listen::{self, Addresses, Listeners};
use crate::tls::{Acceptor, Tls};
use crate::{routes, server};

/// A service that shows the database by HTTP, on a Unix socket and, if asked, on an address.
///
/// See the [crate](crate) for what it shows, to whom, and what it costs.
///
/// ```
/// use aimdb_console::{Console, Grants};
/// use aimdb_core::AimDbBuilder;
/// use aimdb_tokio_adapter::TokioAdapter;
///
/// fn add(builder: &mut AimDbBuilder<TokioAdapter>, secret: String) {
///     let operator = Grants::read_only().set("config.*");
///     builder.service(Console::new().name("gateway").http("127.0.0.1:8080").token(secret, operator));
/// }
/// ```
#[must_use = "a console shows nothing until `builder.service(…)` has it"]
pub struct Console {
    name: Option<String>,
    socket: bool,
    directory: Option<PathBuf>,
    http: Option<String>,
    owner_grants: Grants,
    /// `None`: those of callers without a token by default.
    http_grants: Option<Grants>,
    tls: Option<Tls>,
    tokens: Vec<Token>,
    hosts: Vec<String>,
    limits: Limits,
    on_listening: Option<OnListening>,
}

/// Called once with the addresses.
type OnListening = Box<dyn FnOnce(&Addresses) + Send>;

impl Console {
    /// A console on a Unix socket, named after the program.
    pub fn new() -> Self {
        Self {
            name: None,
            socket: true,
            directory: None,
            http: None,
            owner_grants: Grants::all(),
            http_grants: None,
            tls: None,
            tokens: Vec::new(),
            hosts: Vec::new(),
            limits: Limits::default(),
            on_listening: None,
        }
    }

    /// Sets the name under which command lines find the database: `NAME.sock`. It is the name of the program's file unless
    /// set. If another process has that socket, the name is `NAME-PID`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the directory of the Unix socket, which is created with mode 0700 if it is missing.
    ///
    /// Unless set it is `$XDG_RUNTIME_DIR/aimdb`, or `aimdb-UID` in the directory for temporary files where that variable
    /// is not set. The command `aimdb` looks there; for another directory it has `--socket PATH`.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Listens on HTTP alone. Without [`http`](Self::http) that is a finding.
    pub fn without_socket(mut self) -> Self {
        self.socket = false;
        self
    }

    /// Listens on an address of this machine, too: `127.0.0.1:8080`, or `127.0.0.1:0` for any free port. An address off
    /// loopback is a finding, unless the console has TLS (`Console::tls`, feature `tls`) and a token or a certificate is needed.
    ///
    /// If the port is taken there is no console at all: the service fails, which is an error in the log and in the health,
    /// and the database runs on.
    pub fn http(mut self, address: impl Into<String>) -> Self {
        self.http = Some(address.into());
        self
    }

    /// Speaks HTTPS on the address of [`http`](Self::http), and nothing else.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets what a caller by HTTP without a token or a certificate may do: unless set, [`Grants::read_only`] on loopback, where
    /// every program on this machine is such a caller, and [`Grants::none`] on another address, where more is a finding.
    pub fn http_grants(mut self, grants: Grants) -> Self {
        self.http_grants = Some(grants);
        self
    }

    /// Sets what the owner of the process and root may do by the Unix socket: unless set, [`Grants::all`].
    pub fn owner_grants(mut self, grants: Grants) -> Self {
        self.owner_grants = grants;
        self
    }

    /// Lets callers with this token do what `grants` says: `Authorization: Bearer TOKEN`. Tokens are never shown, logged
    /// or part of an error. A token of less than 16 bytes is a finding.
    pub fn token(mut self, secret: impl Into<String>, grants: Grants) -> Self {
        self.tokens.push(Token { secret: secret.into(), grants });
        self
    }

    /// Accepts one more name in the header `Host`, with any port, for a proxy or a tunnel. `localhost`, `127.0.0.1` and `[::1]` are
    /// accepted always, with TLS every address too; any other name would let a foreign page read this console through a browser.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.hosts.push(host_name(&name).to_owned());
        self
    }

    /// Sets the most connections at a time: unless set, 256. One more is closed at once. Callers by the socket have as many of
    /// their own. On an address off loopback strangers may take all of the others for 3 s each, the time for a handshake: a
    /// firewall keeps them away.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections;
        self
    }

    /// Sets the most streams at a time: unless set, 64. One more is refused.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.limits.streams = streams;
        self
    }

    /// Sets the longest waits: for the head of a request, 20 s unless set; for its body, 10 s; and for a caller that takes no
    /// bytes, 30 s. The connection then ends.
    pub fn timeouts(
        mut self,
        head: std::time::Duration,
        body: std::time::Duration,
        stalled: std::time::Duration,
    ) -> Self {
        (self.limits.head, self.limits.body, self.limits.stalled) = (head, body, stalled);
        self
    }

    /// Calls a function once the console listens, for instance to print where to look.
    pub fn on_listening(mut self, call: impl FnOnce(&Addresses) + Send + 'static) -> Self {
        self.on_listening = Some(Box::new(call));
        self
    }

    fn chosen_name(&self) -> String {
        self.name.clone().unwrap_or_else(listen::program_name)
    }

    /// The rights of callers without a token on this address.
    fn open_grants(&self, address: Option<SocketAddr>) -> Grants {
        let is_local = address.is_none_or(|address| address.ip().is_loopback());
        let by_default = || if is_local { Grants::read_only() } else { Grants::none() };
        self.http_grants.clone().unwrap_or_else(by_default)
    }

    /// The fault of an address that other machines can reach, and its remedy.
    fn open_to_others(&self, address: SocketAddr) -> Option<(&'static str, &'static str)> {
        if address.ip().is_loopback() {
            return None;
        }
        let Some(tls) = &self.tls else {
            return Some((
                "the console has no TLS there",
                "listen on 127.0.0.1 and reach it by `ssh -L`, or add `.tls(…)` (feature `tls`) and a `.token(…)`",
            ));
        };
        if !self.open_grants(Some(address)).is_none() {
            let fault = "`.http_grants(…)` lets their callers in without a token";
            return Some((fault, "leave it away, and grant by `.token(…)` or `Tls::clients`"));
        }
        if self.tokens.is_empty() && !tls.knows_clients() {
            return Some((
                "no caller of theirs may do anything",
                "add `.token(…)` or `Tls::clients`",
            ));
        }
        None
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No tokens.
        f.debug_struct("Console")
            .field("name", &self.name)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl Service<TokioAdapter> for Console {
    type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn name(&self) -> &str {
        "console"
    }

    fn describe(&self) -> String {
        let socket = self.socket.then(|| format!("Unix socket `{}`", self.chosen_name()));
        let scheme = listen::scheme(self.tls.is_some());
        let http = self.http.as_ref().map(|address| format!("{scheme}://{address}/"));
        socket.into_iter().chain(http).collect::<Vec<_>>().join(", ")
    }

    fn check(&self, _graph: &Graph) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |problem: String, help: &str| {
            findings.push(Finding::new(Rule::BadService, "", problem, help));
        };
        if !self.socket && self.http.is_none() {
            let help = "keep the socket, or add `.http(\"127.0.0.1:0\")`";
            add("it listens nowhere".into(), help);
        }
        if self.socket {
            let name = self.chosen_name();
            if let Err(problem) = listen::check_name(&name) {
                add(problem, "give it a short name of letters, digits, `.`, `-` and `_`");
            } else if let Err(problem) = listen::check_path(self.directory.as_deref(), &name) {
                add(problem, "set a shorter `.name(…)` or `.directory(…)`");
            }
        }
        if let Some(address) = &self.http {
            match address.parse::<SocketAddr>() {
                Err(_) => add(
                    format!("`{address}` is no address to listen on"),
                    "write an IP address and a port: `127.0.0.1:8080`, `[::1]:8080`, `127.0.0.1:0`",
                ),
                Ok(parsed) => {
                    if let Some((fault, help)) = self.open_to_others(parsed) {
                        let problem =
                            format!("`{address}` can be reached from other machines, and {fault}");
                        add(problem, help);
                    }
                }
            }
        }
        if let Some(tls) = &self.tls {
            if self.http.is_none() {
                add("it has TLS and no address".into(), "add `.http(\"127.0.0.1:0\")`");
            }
            if let Err(problem) = tls.check() {
                add(problem, "name files in PEM, which this process may read");
            }
        }
        let is_fine = |token: &Token| token.secret.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.tokens.iter().all(is_fine) {
            let problem = "a token has spaces, line breaks or other bytes that no header can have";
            add(problem.into(), "trim what was read from a file, and use ASCII characters");
        }
        if self.tokens.iter().any(|token| token.secret.len() < 16) {
            add("a token has less than 16 bytes".into(), "make one of 32 random characters");
        }
        findings
    }

    fn run(self, db: WeakAimDb<TokioAdapter>, ctx: RuntimeContext<TokioAdapter>) -> Self::Run {
        // The events of the start are part of the story: subscribed before any stage runs.
        let events = ctx.events();
        Box::pin(async move {
            let name = self.chosen_name();
            let http = self.http.as_deref().map(str::parse::<SocketAddr>).transpose()?;
            let open_grants = self.open_grants(http);
            let acceptor = self.tls.map(Acceptor::new).transpose()?;
            let socket = self.socket.then_some(self.directory.as_deref());
            let listeners = Listeners::open(socket, http, &name, acceptor.is_some()).await?;
            let addresses = listeners.addresses().clone();
            ctx.log().info(format_args!("the console listens: {addresses}"));
            if let Some(call) = self.on_listening {
                call(&addresses);
            }
            let (end, ends) = watch::channel(false);
            let app = Arc::new(App {
                name: addresses.name.clone(),
                db,
                tokens: self.tokens,
                hosts: self.hosts,
                acceptor,
                limits: self.limits,
                journal: Journal::new(events),
                log: ctx.log(),
                streams: [(); 2].map(|()| Arc::new(AtomicUsize::new(0))),
                refused: AtomicU64::new(0),
                ends,
            });
            let router = routes::router(&app);
            let grants = (self.owner_grants, open_grants);
            let serve = server::serve(listeners, grants, &app, router, end);
            tokio::select! {
                () = serve.until(ctx.stopping()) => {}
                () = app.journal.keep() => {}
            }
            Ok(())
        })
    }
}

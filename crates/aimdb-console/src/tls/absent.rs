//! No TLS: the feature `tls` is off, and no value of these types exists.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::grants::Grants;

#[derive(Clone, Debug)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) fn knows_clients(&self) -> bool {
        match *self {}
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {}
    }
}

pub(crate) enum Acceptor {}

impl Acceptor {
    pub(crate) fn new(tls: Tls) -> Result<Self, String> {
        match tls {}
    }

    pub(crate) async fn accept(
        &self,
        _: TcpStream,
        _: impl Fn(&str),
    ) -> io::Result<(TcpStream, Option<Arc<Grants>>)> {
        match *self {}
    }
}

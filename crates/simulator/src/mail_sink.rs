//! A mail server that keeps what it gets, or fails in the ways that mail servers do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::accept::accept;
use crate::inbox::Inbox;
use crate::mail::{Login, Mail, MailFault, PostOffice};
use crate::perform::reset;
use crate::smtp::Session;
use llmwatch_core::model::Secret;

/// A running SMTP server for loopback. It stops when this is dropped: then connections are truly refused.
#[derive(Debug)]
pub struct MailSink {
    addr: SocketAddr,
    next: usize,
    post_office: Arc<PostOffice>,
    task: AbortOnDropHandle<()>,
}

/// How the server encrypts, with which certificate.
#[derive(Clone, Default)]
pub enum MailTls {
    /// It doesn't.
    #[default]
    None,
    /// When the client asks for it.
    StartTls(Arc<rustls::ServerConfig>),
    /// From the first byte on.
    Implicit(Arc<rustls::ServerConfig>),
}

impl MailSink {
    /// Serves every connection to `listener`, from within a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot say its address.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        Self::start_with(listener, MailTls::None)
    }

    /// The same, encrypting as `tls` says.
    ///
    /// # Errors
    /// When the listener cannot say its address.
    pub fn start_with(listener: TcpListener, tls: MailTls) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let post_office = Arc::new(PostOffice {
            mails: Inbox::new(),
            fault: Mutex::default(),
            login: Mutex::default(),
        });
        let served = Arc::clone(&post_office);
        let task = tokio::spawn(accept(listener, move |stream| {
            serve(stream, tls.clone(), Arc::clone(&served))
        }));
        Ok(Self {
            addr,
            next: 0,
            post_office,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// Stops it. Once this returns, connections to its address are refused, and another may listen there.
    pub async fn stop(self) {
        self.task.abort();
        // An error only says that it was aborted.
        let _ = self.task.await;
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Fails in this way from now on, in sessions under way as well.
    pub fn set_fault(&self, fault: MailFault) {
        *self
            .post_office
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Takes mail only after `AUTH PLAIN` or `AUTH LOGIN` with this name and password.
    pub fn require_login(&self, user: impl Into<String>, password: Secret) {
        let login = Login {
            user: user.into(),
            password,
        };
        *self
            .post_office
            .login
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(login);
    }

    /// The next mail that this method has not given yet, once it is here.
    pub async fn next(&mut self) -> Arc<Mail> {
        let (mail, next) = self.post_office.mails.nth(self.next).await;
        self.next = next;
        mail
    }

    /// Everything received, in order; the last 10,000.
    pub fn messages(&self) -> Vec<Arc<Mail>> {
        self.post_office.mails.all()
    }
}

async fn serve(stream: TcpStream, tls: MailTls, post_office: Arc<PostOffice>) {
    if post_office.fault() == MailFault::Refuse {
        return reset(&stream);
    }
    // What drips is on its way at once. Without it, it only comes in larger pieces.
    let _ = stream.set_nodelay(true);
    let session = match tls {
        MailTls::None => Session::new(Box::new(stream), None, &post_office),
        MailTls::StartTls(config) => Session::new(
            Box::new(stream),
            Some(TlsAcceptor::from(config)),
            &post_office,
        ),
        MailTls::Implicit(config) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => Session::new(Box::new(stream), None, &post_office),
            // A client that does not trust us hangs up.
            Err(_) => return,
        },
    };
    // An I/O error ends this session and concerns nobody else.
    let _ = session.run().await;
}

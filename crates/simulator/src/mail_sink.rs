//! A mail server that stores what it receives, or fails as mail servers do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::accept::accept;
use crate::inbox::Inbox;
use crate::mail::{Login, Mail, MailFault, SmtpState};
use crate::perform::reset;
use crate::smtp::Session;
use llmwatch_core::model::Secret;

/// A running SMTP server for loopback. Dropping it stops it, and its address refuses connections.
#[derive(Debug)]
pub struct MailSink {
    addr: SocketAddr,
    next: usize,
    post_office: Arc<SmtpState>,
    task: AbortOnDropHandle<()>,
}

/// How the server encrypts, and with which certificate.
#[derive(Clone, Default)]
pub enum MailTls {
    /// No encryption.
    #[default]
    None,
    /// STARTTLS, when the client asks for it.
    StartTls(Arc<rustls::ServerConfig>),
    /// TLS from the first byte.
    Implicit(Arc<rustls::ServerConfig>),
}

impl MailSink {
    /// Serves every connection to `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        Self::start_with(listener, MailTls::None)
    }

    /// Like [`Self::start`], with encryption as in `tls`.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub fn start_with(listener: TcpListener, tls: MailTls) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let post_office = Arc::new(SmtpState {
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

    /// Stops the server. Afterwards its address refuses connections and can be reused.
    pub async fn stop(self) {
        self.task.abort();
        // The error only says that the task was aborted.
        let _ = self.task.await;
    }

    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the fault from now on, also for sessions in progress.
    pub fn set_fault(&self, fault: MailFault) {
        *self
            .post_office
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Accepts mail only after `AUTH PLAIN` or `AUTH LOGIN` with this user name and password.
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

    /// Waits for the next mail that this method has not returned yet.
    pub async fn next(&mut self) -> Arc<Mail> {
        let (mail, next) = self.post_office.mails.nth(self.next).await;
        self.next = next;
        mail
    }

    /// Returns all received mails in order, at most the last 10,000.
    pub fn messages(&self) -> Vec<Arc<Mail>> {
        self.post_office.mails.all()
    }
}

async fn serve(stream: TcpStream, tls: MailTls, post_office: Arc<SmtpState>) {
    if post_office.fault() == MailFault::Refuse {
        return reset(&stream);
    }
    // Send dripped bytes at once; otherwise they would be combined into larger packets.
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
            // A client that does not trust the certificate hangs up.
            Err(_) => return,
        },
    };
    // An I/O error ends only this session.
    let _ = session.run().await;
}

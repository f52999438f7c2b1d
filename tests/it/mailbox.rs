//! A drill as a person meets it: through a real Postfix into a mailbox that a real Dovecot serves,
//! with a link scanner before the person, a mailbox that does not exist, an expired link and a
//! second click. Skipped with a message if the servers are not installed, or without root, which
//! they need to start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use llmwatch::clock;
use llmwatch::links::{Action, Links};
use llmwatch::store::LINK_KEY_BYTES;
use serde_json::Value;

use crate::links::ask;
use crate::postfix::{Postfix, missing, run};
use crate::support::{World, eventually, free_port, skipped};

/// Dovecot on loopback, for the mailbox of `ann`.
struct Dovecot {
    child: Child,
    port: u16,
}

impl Dovecot {
    fn start(postfix: &Path) -> Self {
        let port = free_port();
        let at = postfix.display();
        let version = run(Command::new("dovecot").arg("--version"));
        let version = version.split_whitespace().next().unwrap().to_owned();
        let [uid, gid] = ["-u", "-g"].map(|which| run(Command::new("id").args([which, "postfix"])));
        // Dovecot 2.4 reads another form than 2.3.
        let is_new = !version.starts_with("2.3");
        let own = if is_new {
            format!(
                "dovecot_config_version = {version}\ndovecot_storage_version = {version}\nmail_driver = maildir\n\
                 mail_path = {at}/mail/ann\nauth_allow_cleartext = yes\n\
                 passdb static {{\n  driver = static\n  password = secret\n}}\n\
                 userdb users {{\n  driver = static\n  fields {{\n    uid = {uid}\n    gid = {gid}\n    home = {at}/data\n  }}\n}}\n"
            )
        } else {
            format!(
                "mail_location = maildir:{at}/mail/ann\ndisable_plaintext_auth = no\n\
                 passdb {{\n  driver = static\n  args = password=secret\n}}\n\
                 userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={at}/data\n}}\n"
            )
        };
        let shared = format!(
            "protocols = imap\nbase_dir = {at}/dovecot\nlog_path = {at}/dovecot.log\nlisten = 127.0.0.1\nssl = no\n\
             first_valid_uid = 1\ndefault_login_user = nobody\ndefault_internal_user = nobody\n\
             default_internal_group = nogroup\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {port}\n  }}\n\
             \x20 inet_listener imaps {{\n    port = 0\n  }}\n}}\nservice anvil {{\n  chroot =\n}}\n"
        );
        let path = postfix.join("dovecot.conf");
        // The version must come first.
        std::fs::write(&path, own + &shared).unwrap();
        let child = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(path)
            .spawn();
        Self {
            child: child.unwrap(),
            port,
        }
    }

    /// The mails in the inbox, as IMAP returns them.
    fn inbox(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut answered = Vec::new();
        for (tag, command) in [
            ("login-1", "LOGIN ann secret"),
            ("select-2", "SELECT INBOX"),
            ("fetch-3", "FETCH 1:* BODY.PEEK[]"),
        ] {
            write!(stream, "{tag} {command}\r\n")?;
            answered = answer(&mut stream, tag)?;
        }
        Ok(literals(&answered))
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // It ends its processes only when asked.
        let pid = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill $0", &pid]).status();
        let _ = self.child.wait();
    }
}

/// Reads until the line that completes the command `tag`.
fn answer(stream: &mut TcpStream, tag: &str) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read);
        let last = text.trim_end().lines().next_back().unwrap_or_default();
        if text.ends_with("\r\n") && last.starts_with(tag) {
            return Ok(read);
        }
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&chunk[..n]);
    }
}

/// The literals of an IMAP answer: `{length}`, a line break, and so many bytes.
fn literals(answer: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = answer;
    while let Some(end) = rest.windows(3).position(|w| w == b"}\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let length = head
            .rsplit('{')
            .next()
            .and_then(|n| n.parse::<usize>().ok());
        rest = &rest[end + 3..];
        if let Some(length) = length.filter(|length| *length <= rest.len()) {
            found.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
    }
    found
}

fn ends_link(c: char) -> bool {
    c.is_whitespace() || "\"'<>".contains(c)
}

/// Every link of a mail below `site`, from both of its bodies.
fn links_of(mail: &[u8], site: &str) -> Vec<String> {
    let mail = mail_parser::MessageParser::default().parse(mail).unwrap();
    let bodies = [mail.body_text(0), mail.body_html(0)].map(|body| body.unwrap().into_owned());
    let all = bodies.iter().flat_map(|body| {
        let starts = body.match_indices(site);
        starts.map(move |(at, _)| &body[at..])
    });
    all.map(|text| text.split(ends_link).next().unwrap().to_owned())
        .collect()
}

/// Whether a person has confirmed that `ann` and `dead` are read.
async fn proven(world: &World) -> [bool; 2] {
    let output = world.llmwatch(&["status"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ["ann", "dead"].map(|channel| {
        let start = format!("channel {channel}:");
        let line = text.lines().find(|line| line.contains(&start));
        line.is_some_and(|line| line.contains("last confirmed by a person"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_reaches_a_real_mailbox_and_only_a_person_confirms_it() {
    let dovecot = Command::new("dovecot").arg("--version").output();
    if let Some(why) = missing().or(dovecot.is_err().then_some("dovecot is not installed")) {
        skipped("a drill with a real Postfix and Dovecot", why);
        return;
    }
    let mut world = World::new().await;
    let postfix = Postfix::start();
    let dovecot = Dovecot::start(&postfix.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let site = format!("http://{address}/watch");
    let monitor = format!(
        "listen = \"{address}\"\npublic_url = \"{site}\"\nca_file = \"{}/cert.pem\"",
        postfix.path().display()
    );
    let mailbox = |name: &str, to: &str| {
        format!(
            "\n[[email]]\nname = \"{name}\"\nto = [\"{to}@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
             smtp = \"smtp://watch:right-password@127.0.0.1:{}?tls=required\"\n",
            postfix.port
        )
    };
    let drill = "\n[drill]\nchannels = [\"ann\", \"dead\"]\nconfirm_within = \"2s\"\nescalate_to = [\"hook\"]\n";
    world.write(&format!(
        "{}{}{}{}{drill}",
        world.endpoints().replace("listen = \"off\"", &monitor),
        mailbox("ann", "ann"),
        mailbox("dead", "nobody"),
        world.webhook()
    ));
    let mut daemon = world.run();
    daemon.well().await;

    // One mailbox is dead, which the command says.
    let output = world.llmwatch(&["drill"]).output().await.unwrap();
    let receipts = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{receipts}");
    assert!(receipts.contains("550"), "{receipts}");

    let mail = eventually("the mail in Dovecot", || {
        dovecot.inbox().ok()?.into_iter().next()
    })
    .await;
    let parsed = mail_parser::MessageParser::default().parse(&mail).unwrap();
    assert!(
        parsed.subject().unwrap().starts_with("[DRILL] "),
        "{parsed:?}"
    );

    // A link scanner follows everything.
    let links = links_of(&mail, &site);
    assert!(links.len() > 1, "{links:?}");
    for link in &links {
        let path = link.trim_start_matches(&format!("http://{address}"));
        for method in ["GET", "HEAD", "GET"] {
            let (status, page) = ask(address, method, path, "", "").await;
            assert_eq!(status, 200, "{method} {link}: {page}");
        }
    }
    assert_eq!(
        proven(&world).await,
        [false, false],
        "nobody has clicked yet"
    );

    let token = links.iter().find_map(|l| l.split("/a/").nth(1)).unwrap();
    let key: Vec<u8> = world.query("SELECT value FROM secret WHERE name = 'links'");
    let signer = Links::new(&<[u8; LINK_KEY_BYTES]>::try_from(key).unwrap().into());
    let now = clock::now();
    let (action, id) = signer.read(token, now).unwrap();
    assert_eq!(action, Action::ConfirmDrill);
    let expired = signer.token(action, id, now - Duration::from_secs(1));
    for method in ["GET", "POST"] {
        let (status, page) = ask(address, method, &format!("/watch/a/{expired}"), "", "").await;
        assert_eq!(status, 410, "{page}");
        assert!(page.contains("expired"), "{page}");
    }
    assert_eq!(proven(&world).await, [false, false]);

    let path = format!("/watch/a/{token}");
    for wanted in ["is confirmed", "already confirmed"] {
        let (status, page) = ask(address, "POST", &path, "", "").await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains(wanted), "{page}");
    }
    assert_eq!(
        proven(&world).await,
        [true, false],
        "the dead one is not proven"
    );

    // Another channel is notified about the mailbox that nobody reads.
    let title = loop {
        let request = world.hook.next().await;
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let title = message["data"]["title"].as_str().unwrap_or_default();
        if title.contains("`dead`") && title.starts_with("nobody confirmed") {
            break title.to_owned();
        }
    };
    assert_eq!(title, "nobody confirmed the drill of the channel `dead`");
    assert_eq!(daemon.stop().await, Some(0));
    assert!(!daemon.log.contains(token), "a link is no log entry");
    assert!(
        !daemon.log.contains("\"event\":\"incident."),
        "{}",
        daemon.log
    );
}

//! A real mail server: Postfix on loopback with STARTTLS, AUTH and delivery to a Maildir. Skipped
//! with a message if Postfix is not installed, or without root, which it needs to start.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{eventually, skipped};

const MASTER: &str = "\
postlog unix-dgram n - n - 1 postlogd
PORT inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
";

/// Postfix for `ann@example.com` and `cy@example.com`; it rejects other recipients.
pub(crate) struct Postfix {
    directory: tempfile::TempDir,
    pub(crate) port: u16,
}

pub(crate) fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Why Postfix cannot be started here.
pub(crate) fn missing() -> Option<&'static str> {
    let has = |tool: &str| {
        Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .unwrap()
            .status
            .success()
    };
    if !has("postfix") || !has("saslpasswd2") || !has("openssl") {
        return Some("postfix, saslpasswd2 or openssl is not installed");
    }
    (run(Command::new("id").arg("-u")) != "0").then_some("this is not root")
}

impl Postfix {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("llmwatch-postfix")
            .tempdir_in("/tmp")
            .unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let root = directory.path().to_owned();
        let at = root.display();
        for folder in ["conf/sasl", "spool", "data", "mail"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        run(Command::new("openssl").current_dir(&root).args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]));
        let (uid, gid) = (
            run(Command::new("id").args(["-u", "postfix"])),
            run(Command::new("id").args(["-g", "postfix"])),
        );
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {at}/spool\ndata_directory = {at}/data\nmyhostname = localhost\n\
             mydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nvirtual_mailbox_domains = example.com\n\
             virtual_mailbox_base = {at}/mail\nvirtual_mailbox_maps = inline:{{ ann@example.com=ann/, cy@example.com=cy/ }}\n\
             virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n\
             smtpd_tls_cert_file = {at}/cert.pem\nsmtpd_tls_key_file = {at}/key.pem\nsmtpd_tls_security_level = encrypt\n\
             smtpd_sasl_auth_enable = yes\nsmtpd_sasl_path = smtpd\ncyrus_sasl_config_path = {at}/conf/sasl\n\
             smtpd_sasl_local_domain = localhost\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
             smtpd_recipient_restrictions = permit_sasl_authenticated, reject\nmaillog_file = {at}/maillog\n\
             maillog_file_prefixes = {at}\n"
        );
        std::fs::write(root.join("conf/main.cf"), main).unwrap();
        std::fs::write(
            root.join("conf/master.cf"),
            MASTER.replace("PORT", &port.to_string()),
        )
        .unwrap();
        let sasl = format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {at}/sasldb2\n"
        );
        std::fs::write(root.join("conf/sasl/smtpd.conf"), sasl).unwrap();
        let user = "printf right-password | saslpasswd2 -p -c -f sasldb2 -u localhost watch && chmod 644 sasldb2 \
                    && chmod 755 . mail data && chown -R postfix:postfix mail data";
        run(Command::new("sh").current_dir(&root).args(["-c", user]));
        run(Command::new("postfix").args(["-c", &format!("{at}/conf"), "start"]));
        Self { directory, port }
    }

    fn mails(&self, user: &str) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.path().join(format!("mail/{user}/new"))) else {
            return Vec::new();
        };
        files
            .map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap())
            .collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("postfix")
            .args(["-c", &format!("{}/conf", self.path().display()), "stop"])
            .output();
    }
}

fn test_alert(directory: &Path, port: u16, password: &str, to: &str) -> std::process::Output {
    let config = format!(
        "[monitor]\nca_file = \"cert.pem\"\n[[email]]\nto = {to}\nfrom = \"llmwatch@example.com\"\n\
         smtp = \"smtp://watch:{password}@127.0.0.1:{port}?tls=required\"\n[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n"
    );
    let path = directory.join("monitor.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
    command
        .arg("-c")
        .arg(path)
        .args(["test-alert", "--reason", "opened", "--reason", "resolved"])
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_accepts_mails_over_starttls_with_login() {
    if let Some(why) = missing() {
        skipped("a real Postfix", why);
        return;
    }
    let postfix = Postfix::start();
    let shown = |out: &std::process::Output| String::from_utf8_lossy(&out.stdout).into_owned();
    let to = "[\"ann@example.com\", \"nobody@example.com\", \"cy@example.com\"]";
    let out = test_alert(&postfix.path(), postfix.port, "right-password", to);
    assert_eq!(out.status.code(), Some(1), "one of three is unknown");
    assert!(
        shown(&out).contains("nobody@example.com: 550 5.1.1"),
        "{}",
        shown(&out)
    );
    for user in ["ann", "cy"] {
        let mut mails = eventually("both mails", || {
            Some(postfix.mails(user)).filter(|m| m.len() == 2)
        })
        .await;
        mails.sort_by_key(|m| m.contains("\nIn-Reply-To: "));
        let id = mails[0]
            .lines()
            .find_map(|l| l.strip_prefix("Message-ID: "))
            .unwrap();
        assert!(
            mails[1].contains(&format!("In-Reply-To: {id}")),
            "one thread: {}",
            mails[1]
        );
        assert!(
            mails[0].contains("with ESMTPSA"),
            "over TLS and with a login: {}",
            mails[0]
        );
    }

    let out = test_alert(
        &postfix.path(),
        postfix.port,
        "wrong-password",
        "[\"ann@example.com\"]",
    );
    assert_eq!(out.status.code(), Some(1));
    assert!(
        shown(&out).contains("535") && !shown(&out).contains("wrong-password"),
        "{}",
        shown(&out)
    );
    assert_eq!(postfix.mails("ann").len(), 2);
}

//! `aws` and `google` of an endpoint: the region or project, and the source of the credentials. If
//! they are not configured, they are looked up where the clouds' own clients look: in the
//! environment, in files of the home directory, and finally in the machine's metadata service.

use std::path::{Path, PathBuf};

use ring::signature::RsaKeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value as Json;
use url::Url;

use super::diagnostic::echo;
use super::raw::{Table, Value};
use crate::files;
use llmwatch_core::model::{Aws, AwsKeys, AwsSource, Google, GoogleSource, Secret};
use llmwatch_core::protocol::aws_credentials;

const AWS_METADATA: &str = "http://169.254.169.254";
const AWS_CONTAINER: &str = "http://169.254.170.2";
const GOOGLE_METADATA: &str = "metadata.google.internal";
const GOOGLE_TOKENS: &str = "https://oauth2.googleapis.com/token";

/// What determines whether credentials are looked up.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    /// The configured base URL.
    pub(super) base_url: Option<&'a Url>,
    /// Another credential is configured: `api_key` or a header.
    pub(super) is_authorized: bool,
    /// The address is on this machine or a private network.
    pub(super) is_local: bool,
}

/// Reads `aws` of a Bedrock endpoint.
pub(super) fn aws(
    endpoint: &Table<'_>,
    tables: &[Table<'_>],
    context: Circumstances<'_>,
) -> Option<Aws> {
    let first = tables.first();
    let table = first.unwrap_or(endpoint);
    let vars = Vars(table);
    let region = first.and_then(|t| t.get("region")?.string());
    let secret_access_key = first.and_then(|t| {
        t.secret(
            "secret_access_key",
            "secret_access_key_file",
            "secret_access_key_credential",
        )
    });
    let access_key_id = first.and_then(|t| {
        t.secret(
            "access_key_id",
            "access_key_id_file",
            "access_key_id_credential",
        )
    });
    let session_token = first.and_then(|t| {
        t.secret(
            "session_token",
            "session_token_file",
            "session_token_credential",
        )
    });
    let profile_file = first.and_then(|t| t.get("profile_file")?.path());
    let profile = first.and_then(|t| t.get("profile")?.string());
    tables.iter().for_each(Table::finish);

    let region = region
        .or_else(|| vars.get("AWS_REGION"))
        .or_else(|| vars.get("AWS_DEFAULT_REGION"))
        .or_else(|| context.base_url.and_then(region_of));
    let Some(region) = region else {
        let help = "add `aws = { region = \"us-east-1\" }`, or set AWS_REGION";
        table.error("missing key `region` in `aws` of a Bedrock endpoint", help);
        return None;
    };
    if !is_region(&region) {
        let message = format!("{} is not an AWS region", echo(&region));
        table.error(message, "write it as `us-east-1`");
        return None;
    }
    if access_key_id.is_some() != secret_access_key.is_some() {
        table.error(
            "`aws` has only one of `access_key_id` and `secret_access_key`",
            "an AWS key consists of both",
        );
        return None;
    }
    let written = access_key_id
        .zip(secret_access_key)
        .map(|(id, secret_access_key)| {
            AwsSource::Keys(AwsKeys {
                access_key_id: id,
                secret_access_key,
                session_token,
            })
        });
    let source = written
        .or_else(|| profile_file.map(|file| profile_of(table, file, profile.clone(), &vars)))
        .or_else(|| context.is_authorized.then_some(AwsSource::ApiKey))
        .or_else(|| aws_elsewhere(&vars, &region, profile))
        .or_else(|| context.is_local.then_some(AwsSource::ApiKey))
        .unwrap_or_else(|| {
            table.sink().warn(
                "an endpoint of Bedrock has no AWS keys in the configuration, the environment or \
                 ~/.aws/credentials: the instance's metadata service will be asked",
            );
            AwsSource::Instance {
                url: vars
                    .url("AWS_EC2_METADATA_SERVICE_ENDPOINT")
                    .unwrap_or_else(|| constant(AWS_METADATA)),
            }
        });
    Some(Aws { region, source })
}

/// Reads the file now, so that a mistake is reported here and not by the first probe.
fn profile_of(
    table: &Table<'_>,
    file: PathBuf,
    profile: Option<String>,
    vars: &Vars<'_, '_>,
) -> AwsSource {
    let profile = profile
        .or_else(|| vars.get("AWS_PROFILE"))
        .unwrap_or_else(|| "default".to_owned());
    let tried = read(&file).and_then(|text| aws_credentials::of_profile(&text, &profile));
    if let Err(why) = tried
        && !table.sink().surroundings.without_secrets
    {
        table.error(
            format!("cannot use `profile_file` {}: {why}", file.display()),
            "check its path, its permissions and the profile's name",
        );
    }
    AwsSource::Profile { file, profile }
}

fn aws_elsewhere(vars: &Vars<'_, '_>, region: &str, profile: Option<String>) -> Option<AwsSource> {
    if let (Some(id), Some(secret)) = (
        vars.get("AWS_ACCESS_KEY_ID"),
        vars.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        return Some(AwsSource::Keys(AwsKeys {
            access_key_id: Secret::new(id),
            secret_access_key: Secret::new(secret),
            session_token: vars.get("AWS_SESSION_TOKEN").map(Secret::new),
        }));
    }
    if let (Some(token_file), Some(role_arn)) = (
        vars.get("AWS_WEB_IDENTITY_TOKEN_FILE"),
        vars.get("AWS_ROLE_ARN"),
    ) {
        let regional = format!("https://sts.{region}.{}/", domain(region));
        return Some(AwsSource::WebIdentity {
            token_file: PathBuf::from(token_file),
            role_arn,
            session_name: vars
                .get("AWS_ROLE_SESSION_NAME")
                .unwrap_or_else(|| "llmwatch".to_owned()),
            sts_url: vars
                .url("AWS_ENDPOINT_URL_STS")
                .or_else(|| Url::parse(&regional).ok())?,
        });
    }
    let profile = profile
        .or_else(|| vars.get("AWS_PROFILE"))
        .unwrap_or_else(|| "default".to_owned());
    let shared = vars
        .get("AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&vars.get("HOME")?).join(".aws/credentials")));
    if let Some(file) = shared
        && read(&file).is_ok_and(|text| aws_credentials::of_profile(&text, &profile).is_ok())
    {
        return Some(AwsSource::Profile { file, profile });
    }
    let container = vars.url("AWS_CONTAINER_CREDENTIALS_FULL_URI").or_else(|| {
        let path = vars.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?;
        constant(AWS_CONTAINER).join(&path).ok()
    })?;
    Some(AwsSource::Container {
        url: container,
        token_file: vars
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
            .map(PathBuf::from),
        token: vars
            .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
            .map(Secret::new),
    })
}

/// The Bedrock URL of a region.
pub(super) fn bedrock_url(region: &str) -> Option<Url> {
    Url::parse(&format!(
        "https://bedrock-runtime.{region}.{}",
        domain(region)
    ))
    .ok()
}

fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

/// Extracts the region from the host name of an AWS endpoint:
/// `bedrock-runtime.us-east-1.amazonaws.com`.
fn region_of(url: &Url) -> Option<String> {
    let (name, _) = url.host_str()?.split_once(".amazonaws.com")?;
    let region = name.rsplit('.').next()?;
    is_region(region).then(|| region.to_owned())
}

fn is_region(text: &str) -> bool {
    text.contains('-')
        && text.len() <= 32
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Reads `google` of a Vertex AI endpoint.
pub(super) fn google(
    endpoint: &Table<'_>,
    tables: &[Table<'_>],
    context: Circumstances<'_>,
) -> Option<Google> {
    let first = tables.first();
    let table = first.unwrap_or(endpoint);
    let vars = Vars(table);
    let project = first.and_then(|t| checked_segment(&t.get("project")?));
    let location = first.and_then(|t| checked_segment(&t.get("location")?));
    let file = first.and_then(|t| {
        let value = t.get("credentials_file")?;
        Some((value.path()?, value.span))
    });
    tables.iter().for_each(Table::finish);

    let (source, of_file) = match file {
        Some((path, span)) => match google_file(&path) {
            Ok(found) => found,
            Err(_) if table.sink().surroundings.without_secrets => {
                (GoogleSource::None, Some("unknown".to_owned()))
            }
            Err(why) => {
                table.sink().error(
                    Some(span),
                    format!("cannot use `credentials_file` {}: {why}", path.display()),
                    Some(
                        "it is the JSON key of a service account, or what `gcloud auth \
                          application-default login` writes"
                            .to_owned(),
                    ),
                );
                return None;
            }
        },
        None if context.is_authorized => (GoogleSource::None, None),
        None => google_elsewhere(table, &vars, context.is_local)?,
    };
    let project = project
        .or_else(|| vars.get("GOOGLE_CLOUD_PROJECT"))
        .or(of_file);
    let Some(project) = project else {
        table.error(
            "missing key `project` in `google` of a Vertex AI endpoint",
            "add `google = { project = \"my-project\" }`, or set GOOGLE_CLOUD_PROJECT",
        );
        return None;
    };
    Some(Google {
        project,
        location: location
            .or_else(|| vars.get("GOOGLE_CLOUD_LOCATION"))
            .unwrap_or_else(|| "us-central1".to_owned()),
        source,
    })
}

/// Application default credentials: the environment's file, gcloud's file, or the machine's
/// metadata service.
fn google_elsewhere(
    table: &Table<'_>,
    vars: &Vars<'_, '_>,
    is_local: bool,
) -> Option<(GoogleSource, Option<String>)> {
    if let Some(path) = vars.get("GOOGLE_APPLICATION_CREDENTIALS") {
        return match google_file(Path::new(&path)) {
            Ok(found) => Some(found),
            Err(_) if table.sink().surroundings.without_secrets => {
                Some((GoogleSource::None, Some("unknown".to_owned())))
            }
            Err(why) => {
                table.error(
                    format!("cannot use the file of GOOGLE_APPLICATION_CREDENTIALS: {why}"),
                    "correct the variable, or set `google.credentials_file`",
                );
                None
            }
        };
    }
    let of_gcloud = vars
        .get("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&vars.get("HOME")?).join(".config/gcloud")))
        .map(|directory| directory.join("application_default_credentials.json"));
    if let Some(found) = of_gcloud.and_then(|path| google_file(&path).ok()) {
        return Some(found);
    }
    if is_local {
        return Some((GoogleSource::None, None));
    }
    let host = vars
        .get("GCE_METADATA_HOST")
        .unwrap_or_else(|| GOOGLE_METADATA.to_owned());
    table.sink().warn(
        "an endpoint of Vertex AI has no credentials in the configuration, the environment or of \
         gcloud: the machine's metadata service will be asked",
    );
    let url = Url::parse(&format!("http://{host}")).ok()?;
    Some((GoogleSource::Metadata { url }, None))
}

/// Reads the credentials in a Google credentials file and the project that it names.
fn google_file(path: &Path) -> Result<(GoogleSource, Option<String>), String> {
    let text = read(path)?;
    let json: Json = serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned())?;
    let token_url = Url::parse(text_of(&json, "token_uri").unwrap_or(GOOGLE_TOKENS))
        .map_err(|_| "its `token_uri` is not a URL".to_owned())?;
    let source = match text_of(&json, "type") {
        Some("service_account") => {
            let private_key = Secret::new(required_text(&json, "private_key")?);
            service_key(&private_key)?;
            GoogleSource::ServiceAccount {
                client_email: Secret::new(required_text(&json, "client_email")?),
                key_id: Secret::new(text_of(&json, "private_key_id").unwrap_or_default()),
                private_key,
                token_url,
            }
        }
        Some("authorized_user") => GoogleSource::AuthorizedUser {
            client_id: required_text(&json, "client_id")?.to_owned(),
            client_secret: Secret::new(required_text(&json, "client_secret")?),
            refresh_token: Secret::new(required_text(&json, "refresh_token")?),
            token_url,
        },
        Some(other) => {
            return Err(format!(
                "credentials of type {} are not supported: `service_account` and `authorized_user` are",
                echo(other)
            ));
        }
        None => return Err("it has no `type`".to_owned()),
    };
    let project = text_of(&json, "project_id").or(text_of(&json, "quota_project_id"));
    Ok((source, project.map(str::to_owned)))
}

fn text_of<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json[key].as_str().filter(|text| !text.is_empty())
}

fn required_text<'a>(json: &'a Json, key: &str) -> Result<&'a str, String> {
    text_of(json, key).ok_or_else(|| format!("it has no `{key}`"))
}

/// Reads a service account's key.
///
/// # Errors
/// What is wrong with it, without any part of the key.
pub(crate) fn service_key(pem: &Secret) -> Result<RsaKeyPair, &'static str> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|_| "its `private_key` is not a PKCS #8 key in PEM form")?;
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|_| "its `private_key` is not an RSA key of 2048 bits or more")
}

/// The Vertex AI URL of a location.
pub(super) fn vertex_url(location: &str) -> Option<Url> {
    let host = match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        // Multi-regions.
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    Url::parse(&format!("https://{host}")).ok()
}

/// Checks the name of a project or a location, which becomes part of the path.
fn checked_segment(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let is_valid = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-.:_".contains(c));
    if text.is_empty() || text.len() > 64 || !is_valid {
        return value.error(
            format!("invalid value {} for `{}`", echo(&text), value.key),
            "letters, digits and `-`, as the console shows it",
        );
    }
    Some(text)
}

fn read(path: &Path) -> Result<String, String> {
    files::read_to_string(path, files::MAX_SECRET).map_err(|e| e.to_string())
}

/// The environment variables.
struct Vars<'t, 'a>(&'t Table<'a>);

impl Vars<'_, '_> {
    fn get(&self, name: &str) -> Option<String> {
        let vars = &self.0.sink().surroundings.vars;
        vars.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn url(&self, name: &str) -> Option<Url> {
        Url::parse(&self.get(name)?).ok()
    }
}

fn constant(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|_| unreachable!("a constant URL"))
}

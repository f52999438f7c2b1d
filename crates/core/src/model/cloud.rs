//! Credentials at the clouds that sign or exchange them: AWS for Bedrock, Google for Vertex AI.

use std::path::PathBuf;

use url::Url;

use super::Secret;

/// An AWS region and where the keys for it come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Where the keys come from.
    pub source: AwsSource,
}

/// Where AWS keys come from, in the order that AWS's own clients use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsSource {
    /// No keys: `api_key` holds a Bedrock API key, or `headers` authorize the request.
    ApiKey,
    /// These keys.
    Keys(AwsKeys),
    /// A profile of a credentials file, which is read again once a minute.
    Profile {
        /// The file.
        file: PathBuf,
        /// The profile's name.
        profile: String,
    },
    /// A token of an identity provider, exchanged at AWS STS (`AssumeRoleWithWebIdentity`).
    WebIdentity {
        /// The file that holds the token; it is rotated, so it is read at each exchange.
        token_file: PathBuf,
        /// The role to assume.
        role_arn: String,
        /// The session's name, which appears in AWS's audit log.
        session_name: String,
        /// The address of STS.
        sts_url: Url,
    },
    /// The endpoint of the container's agent (ECS, EKS Pod Identity).
    Container {
        /// Its address.
        url: Url,
        /// The file that holds the value of `Authorization`.
        token_file: Option<PathBuf>,
        /// The value of `Authorization`.
        token: Option<Secret>,
    },
    /// The metadata service of an EC2 instance (`IMDSv2`).
    Instance {
        /// Its address, `http://169.254.169.254` unless another is set.
        url: Url,
    },
}

/// AWS keys that sign requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// The ID of the key, which is part of every request. It is masked like the key: it tells
    /// others which account this is.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// The token of a temporary key.
    pub session_token: Option<Secret>,
}

/// A Google Cloud project, a location, and where access tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Google {
    /// The project's id.
    pub project: String,
    /// Such as `us-central1`, or `global`.
    pub location: String,
    /// Where access tokens come from.
    pub source: GoogleSource,
}

/// Where Google's access tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoogleSource {
    /// `headers` authorize the request, or it needs no authorization.
    None,
    /// A service account, whose key signs a request for a token (RFC 7523).
    ServiceAccount {
        /// The account's address.
        client_email: Secret,
        /// The id of its key.
        key_id: Secret,
        /// The key, PKCS #8 in PEM form.
        private_key: Secret,
        /// The address that issues tokens.
        token_url: Url,
    },
    /// A person who has signed in with `gcloud auth application-default login`.
    AuthorizedUser {
        /// The application.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// The token that is exchanged for access tokens.
        refresh_token: Secret,
        /// The address that issues tokens.
        token_url: Url,
    },
    /// The metadata service of a machine at Google.
    Metadata {
        /// Its address, `http://metadata.google.internal` unless another is set.
        url: Url,
    },
}

impl Aws {
    /// Returns the secrets among the credentials.
    pub fn secrets(&self) -> Vec<&Secret> {
        match &self.source {
            AwsSource::Keys(keys) => keys.secrets(),
            AwsSource::Container { token, .. } => token.iter().collect(),
            AwsSource::ApiKey
            | AwsSource::Profile { .. }
            | AwsSource::WebIdentity { .. }
            | AwsSource::Instance { .. } => Vec::new(),
        }
    }
}

impl AwsKeys {
    /// Returns the key, its ID and the session token.
    pub fn secrets(&self) -> Vec<&Secret> {
        [&self.access_key_id, &self.secret_access_key]
            .into_iter()
            .chain(&self.session_token)
            .collect()
    }
}

impl Google {
    /// Returns the secrets among the credentials.
    pub fn secrets(&self) -> Vec<&Secret> {
        match &self.source {
            GoogleSource::ServiceAccount {
                client_email,
                key_id,
                private_key,
                ..
            } => vec![client_email, key_id, private_key],
            GoogleSource::AuthorizedUser {
                client_secret,
                refresh_token,
                ..
            } => vec![client_secret, refresh_token],
            GoogleSource::None | GoogleSource::Metadata { .. } => Vec::new(),
        }
    }
}

//! Rules that involve several tables: names are unique, and references name something that exists.

use super::Channel;
use super::endpoint::CheckedEndpoint;
use super::raw::{Table, reference};
use llmwatch_core::model::{ChannelName, EndpointName, Provider};

/// Names unnamed endpoints after provider and model, and rejects duplicate names.
pub(super) fn name_endpoints(reads: &mut [CheckedEndpoint<'_>]) {
    let mut taken: Vec<EndpointName> = Vec::new();
    for read in reads.iter().filter(|r| !r.endpoint.name.is_empty()) {
        if taken.contains(&read.endpoint.name) {
            let span = read
                .table
                .get("name")
                .map_or(read.table.span.clone(), |v| v.span);
            let help = "endpoint names must be unique: change one of them";
            let message = format!("two endpoints are called `{}`", read.endpoint.name);
            read.table
                .sink()
                .error(Some(span), message, Some(help.to_owned()));
        }
        taken.push(read.endpoint.name.clone());
    }
    for read in reads.iter_mut().filter(|r| r.endpoint.name.is_empty()) {
        let e = &read.endpoint;
        let model = e
            .model
            .clone()
            .or_else(|| e.base_url.host_str().map(str::to_owned))
            .unwrap_or_default();
        let full_name = format!("{}-{model}", e.provider);
        let stem = full_name.replace(
            |c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c),
            "-",
        );
        let stem: String = stem.chars().take(60).collect();
        let stem = EndpointName::from(stem);
        let numbered = (2..).map(|n| EndpointName::from(format!("{stem}-{n}")));
        let free = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        read.endpoint.name = free.unwrap_or(stem);
        taken.push(read.endpoint.name.clone());
    }
}

/// The second probe of an endpoint has its name and `-long`: no other endpoint may be called so.
pub(super) fn refuse_names_of_long_probes(
    reads: &[CheckedEndpoint<'_>],
    long: &[CheckedEndpoint<'_>],
) {
    for of_long in long {
        let name = &of_long.endpoint.name;
        let Some(clash) = reads.iter().find(|read| read.endpoint.name == *name) else {
            continue;
        };
        let span = clash
            .table
            .get("name")
            .map_or(clash.table.span.clone(), |v| v.span);
        let short = name.trim_end_matches("-long");
        let message =
            format!("the endpoint `{name}` has the name of the long probe (`long`) of `{short}`");
        let help = format!("give it another name, or leave `long` out of `{short}`");
        clash.table.sink().error(Some(span), message, Some(help));
    }
}

pub(super) fn name_channels(channels: &mut [(Table<'_>, Channel)]) {
    let mut taken: Vec<ChannelName> = Vec::new();
    for (table, channel) in channels {
        if taken.contains(&channel.name) {
            if let Some(name) = table.get("name") {
                let message = format!("two channels are called `{}`", channel.name);
                let _: Option<()> =
                    name.error(message, "channel names must be unique: change one of them");
            }
            // One more candidate than there are taken names, so one of them is free.
            let free = (2..=taken.len() + 2)
                .map(|n| ChannelName::from(format!("{}-{n}", channel.name)))
                .find(|n| !taken.contains(n));
            channel.name = free.unwrap_or_default();
        }
        taken.push(channel.name.clone());
    }
}

pub(super) fn check_references(reads: &[CheckedEndpoint<'_>], channels: &[(Table<'_>, Channel)]) {
    let endpoints: Vec<_> = reads.iter().map(|r| r.endpoint.name.as_str()).collect();
    let groups: Vec<_> = reads
        .iter()
        .filter_map(|r| r.endpoint.group.as_deref())
        .collect();
    let names: Vec<_> = channels.iter().map(|(_, c)| c.name.as_str()).collect();
    let mut depends = endpoints.clone();
    depends.extend(Provider::ALL.iter().map(|p| p.as_str()));
    for read in reads {
        for value in read.table.items("depends_on") {
            let name = reference(&value, "endpoint or provider", &depends);
            if name.is_some_and(|name| read.endpoint.name == name) {
                let message = "`depends_on` names the endpoint itself";
                let _: Option<()> =
                    value.error(message, "name what it needs, or leave `depends_on` out");
            }
        }
    }
    for (table, channel) in channels {
        for value in table.items("endpoints") {
            reference(&value, "endpoint", &endpoints);
        }
        for value in table.items("groups") {
            reference(&value, "group", &groups);
        }
        if let Some(fallback) = table.get("fallback") {
            let name = reference(&fallback, "channel", &names);
            if name.is_some_and(|name| channel.name == name) {
                let message = "`fallback` names the channel itself";
                let _: Option<()> =
                    fallback.error(message, "name another channel, or leave `fallback` out");
            }
        }
    }
}

//! The formats in which clouds and CDNs publish their addresses, told apart by what is in them.
//!
//! | list | where it is published |
//! |---|---|
//! | AWS | <https://ip-ranges.amazonaws.com/ip-ranges.json> |
//! | Google | <https://www.gstatic.com/ipranges/cloud.json> |
//! | Cloudflare | <https://www.cloudflare.com/ips-v4>, `ips-v6`, <https://api.cloudflare.com/client/v4/ips> |
//! | Azure | "Azure IP Ranges and Service Tags", `ServiceTags_Public_*.json` |
//! | Oracle | <https://docs.oracle.com/iaas/tools/public_ip_ranges.json> |
//! | Fastly | <https://api.fastly.com/public-ip-list> |
//!
//! Keys that are not known are passed over: publishers add some. A network that cannot be read is an error: a
//! list that is half understood would make backends look more distant than they are.

use serde::Deserialize;

use super::{Network, Place, RangesError};

/// Takes one network of a list and where it lies.
type Add<'a> = &'a mut dyn FnMut(&str, Place<'_>) -> Result<(), RangesError>;

/// Blocks that Cloudflare's bare lists have held since they exist, one of each family. Nothing else in them says
/// whose they are.
const CLOUDFLARES: [&str; 2] = ["173.245.48.0/20", "2400:cb00::/32"];

/// Services of AWS that answer at the edge, and what it is called then.
const AWS_EDGES: [(&str, &str); 2] =
    [("CLOUDFRONT", "cloudfront"), ("GLOBALACCELERATOR", "aws-global-accelerator")];

/// The tags of Azure whose addresses clients connect to for what lies behind its edge begin so.
const AZURE_EDGE: (&str, &str) = ("AzureFrontDoor.Frontend", "azure-front-door");

/// Region names that are none.
const NOWHERE: [&str; 2] = ["GLOBAL", "global"];

/// The members by which the JSON lists are told apart.
#[derive(Deserialize)]
struct Published {
    /// AWS and Google.
    prefixes: Option<Vec<Prefix>>,
    /// AWS.
    ipv6_prefixes: Option<Vec<Prefix>>,
    /// Cloudflare's API.
    result: Option<Cidrs>,
    /// Azure.
    values: Option<Vec<Tag>>,
    /// Oracle.
    regions: Option<Vec<Region>>,
    /// Fastly.
    addresses: Option<Vec<String>>,
    ipv6_addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Prefix {
    ip_prefix: Option<String>,
    ipv6_prefix: Option<String>,
    #[serde(rename = "ipv4Prefix")]
    google_v4: Option<String>,
    #[serde(rename = "ipv6Prefix")]
    google_v6: Option<String>,
    region: Option<String>,
    service: Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Cidrs {
    #[serde(default)]
    ipv4_cidrs: Vec<String>,
    #[serde(default)]
    ipv6_cidrs: Vec<String>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    name: String,
    properties: TagProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagProperties {
    region: Option<String>,
    #[serde(default)]
    address_prefixes: Vec<String>,
}

#[derive(Deserialize)]
struct Region {
    #[serde(default)]
    region: String,
    #[serde(default)]
    cidrs: Vec<Cidr>,
}

#[derive(Deserialize)]
struct Cidr {
    cidr: String,
}

/// Reads a list in whatever format it is.
pub(super) fn read(text: &str, add: Add<'_>) -> Result<(), RangesError> {
    match text.trim_start().starts_with(['{', '[']) {
        true => json(text, add),
        false => lines(text, add),
    }
}

fn json(text: &str, add: Add<'_>) -> Result<(), RangesError> {
    let list: Published = serde_json::from_str(text).map_err(|error| match error.classify() {
        // Whole JSON with other types in these places is another kind of file.
        serde_json::error::Category::Data => RangesError::UnknownFormat,
        _ => RangesError::Json { line: error.line(), column: error.column() },
    })?;
    match list {
        Published { prefixes: Some(v4), ipv6_prefixes, .. } => {
            for prefix in v4.iter().chain(ipv6_prefixes.iter().flatten()) {
                aws_or_google(prefix, add)?;
            }
        }
        Published { result: Some(cidrs), .. } => {
            for cidr in cidrs.ipv4_cidrs.iter().chain(&cidrs.ipv6_cidrs) {
                add(cidr, Place { edge: Some("cloudflare"), ..Place::default() })?;
            }
        }
        Published { values: Some(tags), .. } => {
            for tag in &tags {
                azure(tag, add)?;
            }
        }
        Published { regions: Some(regions), .. } => {
            for region in &regions {
                let place = Place { cloud: Some("oracle"), region: Some(&region.region), edge: None };
                region.cidrs.iter().try_for_each(|cidr| add(&cidr.cidr, place))?;
            }
        }
        Published { addresses: Some(v4), ipv6_addresses, .. } => {
            for network in v4.iter().chain(ipv6_addresses.iter().flatten()) {
                add(network, Place { edge: Some("fastly"), ..Place::default() })?;
            }
        }
        _ => return Err(RangesError::UnknownFormat),
    }
    Ok(())
}

fn aws_or_google(prefix: &Prefix, add: Add<'_>) -> Result<(), RangesError> {
    for network in [&prefix.ip_prefix, &prefix.ipv6_prefix].into_iter().flatten() {
        let service = prefix.service.as_deref().unwrap_or_default();
        let edge = AWS_EDGES.iter().find(|(name, _)| *name == service).map(|(_, edge)| *edge);
        add(network, Place { cloud: Some("aws"), region: somewhere(&prefix.region), edge })?;
    }
    for network in [&prefix.google_v4, &prefix.google_v6].into_iter().flatten() {
        add(network, Place { cloud: Some("gcp"), region: somewhere(&prefix.scope), edge: None })?;
    }
    Ok(())
}

fn somewhere(region: &Option<String>) -> Option<&str> {
    region.as_deref().filter(|name| !NOWHERE.contains(name))
}

fn azure(tag: &Tag, add: Add<'_>) -> Result<(), RangesError> {
    let edge = tag.name.starts_with(AZURE_EDGE.0).then_some(AZURE_EDGE.1);
    let place = Place { cloud: Some("azure"), region: tag.properties.region.as_deref(), edge };
    tag.properties.address_prefixes.iter().try_for_each(|network| add(network, place))
}

/// One network a line. `# edge: NAME`, `# cloud: NAME` and `# region: NAME` say whose those below are.
fn lines(text: &str, add: Add<'_>) -> Result<(), RangesError> {
    let entries = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut place = Place::default();
    if entries().any(|line| CLOUDFLARES.contains(&line)) {
        place.edge = Some("cloudflare");
    }
    for line in entries() {
        let Some(comment) = line.strip_prefix('#') else {
            // A word that is no network tells more than whose it is.
            if place == Place::default() && line.parse::<Network>().is_ok() {
                return Err(RangesError::Nameless);
            }
            add(line, place)?;
            continue;
        };
        let Some((kind, name)) = comment.split_once(':') else { continue };
        let name = Some(name.trim());
        match kind.trim() {
            "edge" => place = Place { edge: name, ..Place::default() },
            "cloud" => place = Place { cloud: name, ..Place::default() },
            "region" => place.region = name,
            _ => {}
        }
    }
    Ok(())
}

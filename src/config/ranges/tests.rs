//! Samples in the formats as they are published, shortened; and what is wrong with files that are not.

use super::*;

const AWS: &str = r#"{
  "syncToken": "1764000000",
  "createDate": "2026-11-24-16-00-00",
  "prefixes": [
    {"ip_prefix": "52.94.0.0/16", "region": "GLOBAL", "service": "AMAZON", "network_border_group": "GLOBAL"},
    {"ip_prefix": "52.94.76.0/22", "region": "us-west-2", "service": "AMAZON", "network_border_group": "us-west-2"},
    {"ip_prefix": "52.94.76.0/22", "region": "us-west-2", "service": "EC2", "network_border_group": "us-west-2"},
    {"ip_prefix": "13.32.0.0/15", "region": "GLOBAL", "service": "AMAZON", "network_border_group": "GLOBAL"},
    {"ip_prefix": "13.32.0.0/15", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
    {"ip_prefix": "75.2.0.0/17", "region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"},
    {"ip_prefix": "75.2.0.0/17", "region": "GLOBAL", "service": "GLOBALACCELERATOR", "network_border_group": "GLOBAL"}
  ],
  "ipv6_prefixes": [
    {"ipv6_prefix": "2600:1f18::/33", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"}
  ]
}"#;

const GOOGLE: &str = r#"{
  "syncToken": "1764000000000", "creationTime": "2026-11-24T16:00:00",
  "prefixes": [
    {"ipv4Prefix": "34.80.0.0/15", "service": "Google Cloud", "scope": "asia-east1"},
    {"ipv4Prefix": "34.96.64.0/18", "service": "Google Cloud", "scope": "global"},
    {"ipv6Prefix": "2600:1900:4030::/44", "service": "Google Cloud", "scope": "asia-east1"}
  ]
}"#;

const CLOUDFLARE: &str = "173.245.48.0/20\n103.21.244.0/22\n104.16.0.0/13\n";
const CLOUDFLARE_V6: &str = "2400:cb00::/32\r\n2606:4700::/32\r\n";
const CLOUDFLARE_API: &str = r#"{"result": {"ipv4_cidrs": ["104.16.0.0/13"], "ipv6_cidrs": ["2606:4700::/32"],
    "etag": "38f79d050aa027e3be3865e495dcc9bc"}, "success": true, "errors": [], "messages": []}"#;

const AZURE: &str = r#"{
  "changeNumber": 400, "cloud": "Public",
  "values": [
    {"name": "AzureCloud.westeurope", "id": "AzureCloud.westeurope", "properties": {
      "changeNumber": 60, "region": "westeurope", "regionId": 18, "platform": "Azure", "systemService": "",
      "addressPrefixes": ["13.69.0.0/17", "2603:1020:200::/46"], "networkFeatures": null}},
    {"name": "AzureFrontDoor.Frontend", "id": "AzureFrontDoor.Frontend", "properties": {
      "changeNumber": 30, "region": "", "platform": "Azure", "systemService": "AzureFrontDoor",
      "addressPrefixes": ["13.107.246.0/24"]}}
  ]
}"#;

const ORACLE: &str = r#"{"last_updated_timestamp": "2026-11-20T00:00:00", "regions": [
    {"region": "us-phoenix-1", "cidrs": [{"cidr": "129.146.0.0/21", "tags": ["OCI"]}]}]}"#;

const FASTLY: &str = r#"{"addresses": ["151.101.0.0/16"], "ipv6_addresses": ["2a04:4e40::/32"]}"#;

const OWN: &str = "# our racks\n# cloud: Hetzner\n# region: fsn1\n10.1.0.0/16\n# region: nbg1\n10.2.0.0/16\n\n# edge: own-cdn\n192.0.2.0/24\n";

fn read(lists: &[&str]) -> Result<AddressRanges, RangesError> {
    let mut reader = Reader::default();
    for list in lists {
        reader.list(list.as_bytes())?;
    }
    Ok(reader.done())
}

fn sound(lists: &[&str]) -> AddressRanges {
    read(lists).unwrap_or_else(|error| panic!("{error}"))
}

/// `cloud/region@edge` of an address.
fn found(ranges: &AddressRanges, address: &str) -> String {
    let Some(place) = ranges.find(address.parse().expect("an address")) else { return "nowhere".to_owned() };
    let part = |part: Option<&str>| part.unwrap_or("-").to_owned();
    format!("{}/{}@{}", part(place.cloud), part(place.region), part(place.edge))
}

#[test]
fn every_published_format_is_known_by_its_content() {
    let all = [AWS, GOOGLE, CLOUDFLARE, CLOUDFLARE_V6, AZURE, ORACLE, FASTLY, OWN];
    let table = [
        ("52.94.76.9", "aws/us-west-2@-"),
        ("2600:1f18::1", "aws/us-east-1@-"),
        ("34.81.255.255", "gcp/asia-east1@-"),
        ("34.96.64.1", "gcp/-@-"),
        ("2600:1900:4030::7", "gcp/asia-east1@-"),
        ("104.18.1.1", "-/-@cloudflare"),
        ("2606:4700::6812:1", "-/-@cloudflare"),
        ("13.69.127.1", "azure/westeurope@-"),
        ("2603:1020:200::1", "azure/westeurope@-"),
        ("13.107.246.10", "azure/-@azure-front-door"),
        ("129.146.7.1", "oracle/us-phoenix-1@-"),
        ("151.101.1.1", "-/-@fastly"),
        ("2a04:4e40::1", "-/-@fastly"),
        ("10.1.2.3", "hetzner/fsn1@-"),
        ("10.2.2.3", "hetzner/nbg1@-"),
        ("192.0.2.1", "-/-@own-cdn"),
        ("198.51.100.1", "nowhere"),
        ("2001:db8::1", "nowhere"),
        ("::ffff:52.94.76.9", "aws/us-west-2@-"),
    ];
    let ranges = sound(&all);
    for (address, expected) in table {
        assert_eq!(found(&ranges, address), expected, "{address}");
    }
    assert_eq!(found(&sound(&[CLOUDFLARE_API]), "2606:4700::1"), "-/-@cloudflare");
    let with_mark = format!("\u{feff}{CLOUDFLARE}");
    assert_eq!(found(&sound(&[&with_mark]), "104.18.1.1"), "-/-@cloudflare", "saved by an editor of Windows");
}

#[test]
fn the_narrowest_network_decides_and_what_answers_at_an_edge_lies_in_no_region() {
    let ranges = sound(&[AWS]);
    assert_eq!(found(&ranges, "52.94.76.1"), "aws/us-west-2@-");
    assert_eq!(found(&ranges, "52.94.80.1"), "aws/-@-", "only the wide network holds it");
    assert_eq!(found(&ranges, "13.33.255.255"), "aws/-@cloudfront");
    assert_eq!(found(&ranges, "75.2.0.1"), "aws/-@aws-global-accelerator");
    let wide_first = sound(&["# cloud: wide\n10.0.0.0/8\n# cloud: narrow\n10.1.0.0/16\n"]);
    let narrow_first = sound(&["# cloud: narrow\n10.1.0.0/16\n# cloud: wide\n10.0.0.0/8\n"]);
    for ranges in [wide_first, narrow_first] {
        assert_eq!(
            (found(&ranges, "10.1.0.1"), found(&ranges, "10.2.0.1")),
            ("narrow/-@-".into(), "wide/-@-".into())
        );
    }
}

#[test]
fn lists_that_name_the_same_network_add_up_and_the_first_to_name_a_cloud_is_believed() {
    let ranges = sound(&["# cloud: aws\n192.0.2.0/24\n", "# edge: fastly\n192.0.2.7/24\n"]);
    assert_eq!((found(&ranges, "192.0.2.1"), ranges.len()), ("aws/-@fastly".to_owned(), 1));
    let ranges = sound(&["# cloud: aws\n192.0.2.0/24\n", "# cloud: gcp\n# region: us-east1\n192.0.2.0/24\n"]);
    assert_eq!(found(&ranges, "192.0.2.1"), "aws/-@-");
}

#[test]
fn o6_what_is_wrong_with_a_list_is_told_with_what_to_do() {
    let long = "x".repeat(NAME_MAX + 1);
    let table: &[(&str, &str)] = &[
        ("", "lists no networks: download it again"),
        ("# nothing\n", "lists no networks"),
        ("{\"prefixes\": []}", "lists no networks"),
        ("{\"prefixes\": [{\"ip_prefix\": \"10.0.0.0/8\"", "is not whole JSON (line 1, column "),
        ("{\"name\": \"else\"}", "is none of the lists known here: take ip-ranges.json of AWS"),
        ("{\"prefixes\": 7}", "is none of the lists known here"),
        ("[1, 2]", "is none of the lists known here"),
        (
            "10.0.0.0/8\n",
            "does not say whose addresses it lists: begin it with a line such as `# edge: NAME`",
        ),
        ("<!DOCTYPE html>\n<html>", "has an entry that is no network (`<!DOCTYPE html>`): write CIDR blocks"),
        ("# edge: x\n10.0.0.0/33\n", "has an entry that is no network (`10.0.0.0/33`)"),
        ("{\"addresses\": [\"10.0.0.0/8\", \"nonsense\"]}", "has an entry that is no network (`nonsense`)"),
        ("# edge: x\n0.0.0.0/0\n", "has a network that every address lies in (`0.0.0.0/0`): remove it"),
        ("# edge: x\n::/0\n", "has a network that every address lies in"),
        (&format!("# edge: {long}\n10.0.0.0/8\n"), "has a name of more than 64 characters"),
    ];
    for (list, expected) in table {
        let error = read(&[list]).expect_err(list).to_string();
        assert!(error.starts_with(expected), "{list}: {error}");
        assert!(error.contains(": "), "what to do is missing: {error}");
    }
    let binary = Reader::default().list(&[b'a', b'\n', 0xff, 0xfe]).expect_err("no text").to_string();
    assert_eq!(binary, "is not UTF-8 text from line 2 on: download it again");
}

#[test]
fn a_list_of_any_size_costs_bounded_memory() {
    let many = |count: u32| -> String {
        let networks = (0..count).map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(n << 8)));
        format!("# edge: x\n{}", networks.collect::<String>())
    };
    let full = sound(&[&many(NETWORKS_MAX as u32)]);
    assert_eq!(full.len(), NETWORKS_MAX);
    assert!(matches!(read(&[&many(NETWORKS_MAX as u32 + 1)]), Err(RangesError::TooMany)));
    let places: String = (0..=PLACES_MAX as u32)
        .map(|n| format!("# cloud: c{n}\n{}/32\n", std::net::Ipv4Addr::from_bits(n)))
        .collect();
    assert!(matches!(read(&[&places]), Err(RangesError::TooManyPlaces)));
    let large = vec![b'#'; RANGES_BYTES_MAX + 1];
    assert!(matches!(Reader::default().list(&large), Err(RangesError::TooLarge)));
}

#[test]
fn a_folder_or_a_missing_file_is_told_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reader = Reader::default();
    assert!(matches!(reader.file(folder.path()), Err(RangesError::NoFile)));
    assert!(matches!(reader.file(&folder.path().join("none")), Err(RangesError::Unreadable(_))));
    std::fs::write(folder.path().join("ips-v4"), CLOUDFLARE).expect("it is written");
    reader.file(&folder.path().join("ips-v4")).expect("a list");
    assert_eq!(reader.done().len(), 3);
}

#[test]
fn o6_a_list_that_cannot_be_used_is_a_mistake_of_the_configuration_with_its_line_and_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, "{").expect("it is written");
    let text = format!(
        "[routing]\naddress_ranges = [\n  \"no-such-file.json\",\n  \"{}\",\n  \"${{HOME_OF_KEYS}}/aws.json\",\n]\n",
        broken.display()
    );
    let env = |_: &str| Some("/s3cr3t".to_owned());
    let errors = crate::Config::from_toml(&text, "o.toml", &env).expect_err("three mistakes").to_string();
    for expected in [
        "o.toml:3:3: routing.address_ranges[0]: \"no-such-file.json\" cannot be read (",
        "name the file as it was downloaded, or remove it from address_ranges",
        "o.toml:4:3: routing.address_ranges[1]: \"",
        "broken.json\" is not whole JSON (line 1, column 1); download it again",
        "o.toml:5:3: routing.address_ranges[2]: \"${HOME_OF_KEYS}/aws.json\" cannot be read",
        "3 mistakes",
    ] {
        assert!(errors.contains(expected), "`{expected}` is missing in:\n{errors}");
    }
    assert!(!errors.contains("s3cr3t"), "{errors}");
}

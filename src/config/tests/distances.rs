//! What `check` says about failure domains.

use super::*;

fn of(backends: &[&str]) -> Diversity {
    let mut text = String::from("[chains.mainnet]\n");
    for backend in backends {
        text += &format!("[[chains.mainnet.backends]]\n{}\n", backend.replace("; ", "\n"));
    }
    diversity(sound(&text).default_chain())
}

#[test]
fn h3_four_names_that_are_one_cloud_are_told_so_with_the_mend() {
    let found = of(&[
        "url = \"https://a.example\"; provider = \"a\"; cloud = \"aws\"",
        "url = \"https://b.example\"; provider = \"b\"; cloud = \"AWS\"",
        "url = \"https://c.example\"; provider = \"c\"; cloud = \"aws\"",
    ]);
    assert_eq!((found.backends, found.providers, found.clouds), (3, 3, 1));
    assert_eq!(found.findings, ["your 3 backends are 1 cloud (aws)"]);
    assert_eq!(found.mends, ["add a backend in another cloud than aws"]);
    assert!(found.to_string().starts_with("mainnet: 3 backends, 3 providers, 1 cloud\n"), "{found}");
}

#[test]
fn o6_two_keys_of_one_host_are_one_provider_whatever_they_are_called() {
    let found = of(&[
        "url = \"https://x.example/key1\"; provider = \"a\"; cloud = \"aws\"",
        "url = \"https://x.example/key2\"; provider = \"b\"; cloud = \"gcp\"",
        "url = \"https://y.example\"; provider = \"c\"; cloud = \"metal\"",
        "url = \"https://z.example\"; provider = \"c\"; cloud = \"home\"",
    ]);
    assert_eq!(found.providers, 2);
    assert_eq!(found.findings, ["4 names, 2 providers"]);
}

#[test]
fn h2_a_shared_edge_counts_though_clouds_differ() {
    let found = of(&[
        "url = \"https://a.example\"; cloud = \"aws\"; edge = \"cloudflare\"",
        "url = \"https://b.example\"; cloud = \"gcp\"; edge = \"cloudflare\"",
    ]);
    assert_eq!(found.findings, ["your 2 backends are 1 edge (cloudflare)"]);
    assert_eq!(found.mends, ["add a backend that is not behind cloudflare"]);
}

#[test]
fn distant_backends_are_sound_and_the_same_region_name_of_two_clouds_is_two_regions() {
    let found = of(&[
        "url = \"https://a.example\"; cloud = \"aws\"; region = \"eu-west-1\"; client = \"geth\"",
        "url = \"https://b.example\"; cloud = \"gcp\"; region = \"eu-west-1\"; client = \"reth\"",
    ]);
    assert!(found.is_sound(), "{found}");
    assert_eq!(found.regions, 2);
}

#[test]
fn one_backend_is_no_choice_and_cordoned_or_private_ones_do_not_count() {
    let found = of(&[
        "url = \"https://a.example\"; cloud = \"aws\"",
        "url = \"https://b.example\"; cloud = \"gcp\"; private = true",
        "url = \"https://c.example\"; cloud = \"gcp\"; cordoned = true",
    ]);
    assert_eq!(found.backends, 1);
    assert!(found.findings[0].contains("one backend"), "{found}");
}

#[test]
fn backends_without_labels_are_named() {
    let found = of(&[
        "name = \"a\"; url = \"https://a.example\"",
        "name = \"b\"; url = \"https://b.example\"; cloud = \"gcp\"",
    ]);
    assert_eq!(found.unlabelled, ["a"]);
    assert!(found.is_sound() && found.mends[0].contains("name the cloud of a"), "{found}");
}

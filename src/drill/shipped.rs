//! The scenarios that come with the program.

use super::scenario::Scenario;

macro_rules! shipped {
    ($($id:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] =
            &[$(($id, include_str!(concat!("scenarios/", $id, ".toml")))),*];
    };
}

shipped![
    "s01", "s02", "s03", "s04", "s06", "s08", "s09", "s10", "s12", "s13", "s14", "s16", "s17", "s20", "s21",
    "s22", "s23", "s24", "s25", "s27", "s28", "s29", "s30", "s32", "s34", "s35", "s37", "s38", "s39", "s41",
];

/// Every shipped scenario, in the order of their ids.
pub fn shipped() -> Vec<Scenario> {
    FILES.iter().map(|(name, text)| read(name, text)).collect()
}

/// The shipped scenario with this id, in any case.
pub fn find(id: &str) -> Option<Scenario> {
    FILES.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(name, text)| read(name, text))
}

/// The id that was probably meant.
pub fn nearest(id: &str) -> Option<String> {
    let id = id.to_lowercase();
    FILES
        .iter()
        .map(|(name, _)| (strsim::damerau_levenshtein(&id, name), name))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, name)| name.to_uppercase())
}

fn read(name: &str, text: &str) -> Scenario {
    Scenario::from_toml(text, name).unwrap_or_else(|errors| unreachable!("a test reads each: {errors}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_scenario_reads_without_a_mistake() {
        for (name, text) in FILES {
            match Scenario::from_toml(text, name) {
                Ok(scenario) => assert!(scenario.id.eq_ignore_ascii_case(name), "{name}"),
                Err(errors) => panic!("{errors}"),
            }
        }
        assert_eq!(FILES.len(), 30);
    }

    #[test]
    fn an_id_is_found_in_any_case_and_a_slip_finds_the_nearest() {
        assert_eq!(find("S02").map(|s| s.id), Some("S02".to_owned()));
        assert!(find("S99").is_none());
        assert_eq!(nearest("s0q2"), Some("S02".to_owned()));
        assert_eq!(nearest("tokyo"), None);
    }
}

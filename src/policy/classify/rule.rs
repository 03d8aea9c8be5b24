//! One rule on words.

use super::defaults::Twist;
use super::method::Scope;
use crate::policy::Class;

/// One meaning, the calls it makes sense for, and the phrases that carry it.
pub(super) struct Rule {
    pub(super) class: Class,
    pub(super) scope: Scope,
    pub(super) twist: Twist,
    pub(super) phrases: &'static [&'static str],
}

/// A rule as the class's defaults have it.
pub(super) const fn rule(class: Class, scope: Scope, phrases: &'static [&'static str]) -> Rule {
    Rule { class, scope, twist: Twist::None, phrases }
}

/// A rule that departs from the class's defaults.
pub(super) const fn twisted(
    class: Class,
    twist: Twist,
    scope: Scope,
    phrases: &'static [&'static str],
) -> Rule {
    Rule { class, scope, twist, phrases }
}

//! Checks that doors of the admin API lead to lists that can be edited.

use super::{
    gazelle::Gazelle,
    problem::{Problem, problem},
    schema::{DataFormat, Policy},
    torrust::{ListName, Torrust},
    unit3d::Unit3d,
    values::EditMode,
};

/// Checks the lists of the door for sites that are made for torrust-tracker.
pub(super) fn torrust(door: &Torrust, policies: &[Policy]) -> Result<(), Problem> {
    if door.whitelist.is_none() && door.keys.is_none() {
        return problem("admin.torrust", "expected `whitelist`, `keys`, or both");
    }
    let lists = [
        ("whitelist", &door.whitelist, DataFormat::InfoHashes),
        ("keys", &door.keys, DataFormat::Strings),
    ];
    for (key, list, format) in lists {
        if let Some(list) = list {
            check(list, policies, format)
                .or_else(|message| problem(format!("admin.torrust.{key}"), message))?;
        }
    }
    Ok(())
}

/// Checks the list of the door for a Gazelle.
pub(super) fn gazelle(door: &Gazelle, policies: &[Policy]) -> Result<(), Problem> {
    let Some(list) = &door.whitelist else { return Ok(()) };
    check(list, policies, DataFormat::Strings)
        .or_else(|message| problem("admin.gazelle.whitelist", message))
}

/// Checks the list of the door for a UNIT3D.
pub(super) fn unit3d(door: &Unit3d, policies: &[Policy]) -> Result<(), Problem> {
    let Some(list) = &door.blacklist else { return Ok(()) };
    check(list, policies, DataFormat::Strings)
        .or_else(|message| problem("admin.unit3d.blacklist", message))
}

fn check(list: &ListName, policies: &[Policy], format: DataFormat) -> Result<(), String> {
    let ListName { policy, data } = list;
    let policy = policies.iter().find(|known| known.name == *policy);
    let policy = policy.ok_or_else(|| format!("there is no policy `{}`", list.policy))?;
    let source = policy.data.get(data);
    let source =
        source.ok_or_else(|| format!("the policy `{}` has no data `{data}`", list.policy))?;
    if source.format != format {
        let (found, expected) = (source.format.name(), format.name());
        return Err(format!("`{list}` has the format {found}, expected {expected}"));
    }
    if source.edits != EditMode::On && source.site.is_none() {
        return Err(format!("`{list}` cannot be edited for good, expected `edits: true`"));
    }
    Ok(())
}

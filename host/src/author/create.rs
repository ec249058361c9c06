//! `karuta plugin new`: creates a project that builds.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::project::{Language, check_name};
use super::{Failure, sdk};

pub fn create(name: &str, language: Language) -> Result<(), Failure> {
    // The last part of a path is the name.
    let folder = Path::new(name);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    check_name(&name).map_err(Failure::Usage)?;
    let shown = folder.display();
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty())
        && !above.is_dir()
    {
        return Err(Failure::Usage(format!("the folder {} does not exist", above.display())));
    }
    fs::create_dir(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Usage(format!("{shown} already exists")),
        _ => Failure::Failed(format!("{shown}: {error}")),
    })?;
    let written = sdk::begin(folder, language, &name)
        .and_then(|any| sdk::supply(folder, language).map(|()| any));
    match written {
        Ok(true) => {}
        Ok(false) => {
            return Err(Failure::Failed(format!(
                "this program has no project template for {}",
                language.name()
            )));
        }
        Err(error) => return Err(Failure::Failed(format!("{shown}: {error}"))),
    }
    println!("{shown}: a policy in {}\n", language.name());
    println!("  cd {shown}");
    println!("  karuta plugin build    # makes {name}.wasm");
    println!("  karuta plugin test     # runs the cases of cases.yaml");
    println!("  karuta plugin check {name}.wasm\n");
    println!("README.md describes the next steps.");
    Ok(())
}

//! Components that are put together byte by byte.

/// Appends a core module to a component, and that many instances of it.
pub fn with_module(mut component: Vec<u8>, module: &[u8], instances: usize) -> Vec<u8> {
    // Each core module is a section (id 1) of its own, and the new one comes next.
    let next = sections(&component).filter(|id| *id == 1).count();
    component.push(1);
    component.extend(leb(module.len()));
    component.extend(module);
    // A section of core instances (id 2). Each instantiates (0) that module, without arguments.
    let one = [0, u8::try_from(next).unwrap(), 0];
    let section = [leb(instances), one.repeat(instances)].concat();
    component.push(2);
    component.extend(leb(section.len()));
    component.extend(section);
    component
}

/// Returns the ids of the sections of a component.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (id, behind) = rest.split_first()?;
        let digits = behind.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let size = behind[..digits]
            .iter()
            .rev()
            .fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
        rest = &behind[digits + size..];
        Some(*id)
    })
}

/// Encodes a number as unsigned LEB128.
pub fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = number >= 0x80;
        bytes.push((number & 0x7f) as u8 | if more { 0x80 } else { 0 });
        number >>= 7;
        if !more {
            return bytes;
        }
    }
}

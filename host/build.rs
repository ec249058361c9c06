//! `author::sdk` embeds this folder; its files are known only once they are looked for.

fn main() {
    println!("cargo:rerun-if-changed=../plugin-sdk");
}

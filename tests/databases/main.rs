//! A site's database: what members move is in it exactly once, whatever happens to the tracker, to the
//! database and to what is between them.

mod books;
mod faults;
mod gazelle;
mod hour;
mod kills;
mod lists;
mod members;
mod proxy;
mod site;
mod tables;
mod tls;
mod unit3d;

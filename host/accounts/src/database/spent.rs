//! Tokens that a finished download has used up, until the site has been told.

use rusqlite::{Connection, params};

use super::{Database, Reader, int, uint};

/// Takes a member's token for a torrent, and notes that the site is to be told.
pub fn spend(connection: &Connection, (member, torrent): (u64, u64)) -> rusqlite::Result<()> {
    let values = params![int(member), int(torrent)];
    let sql = "DELETE FROM token WHERE member = ?1 AND torrent = ?2";
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = "INSERT OR IGNORE INTO spent (member, torrent) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// Returns whether a token is used up, and the site has not been told.
pub fn is_spent(connection: &Connection, (member, torrent): (u64, u64)) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM spent WHERE member = ?1 AND torrent = ?2";
    connection.prepare_cached(sql)?.exists([int(member), int(torrent)])
}

/// The site need not be told of a token.
pub fn forget(connection: &Connection, (member, torrent): (u64, u64)) -> rusqlite::Result<()> {
    let sql = "DELETE FROM spent WHERE member = ?1 AND torrent = ?2";
    connection.prepare_cached(sql)?.execute([int(member), int(torrent)]).map(|_| ())
}

impl Database {
    /// Returns how many tokens there are of which the site is to be told.
    ///
    /// # Errors
    ///
    /// They cannot be counted.
    pub fn count_spent(&self) -> rusqlite::Result<u64> {
        let count = |row: &rusqlite::Row| row.get(0).map(uint);
        self.connection.query_one("SELECT count(*) FROM spent", [], count)
    }

    /// Notes that the site has been told of tokens, and returns how many are left.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then nothing has changed.
    pub fn told(&mut self, tokens: &[(u64, u64)]) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        for token in tokens {
            forget(&transaction, *token)?;
        }
        transaction.commit()?;
        self.count_spent()
    }
}

impl Reader {
    /// Returns up to `most` tokens of which the site is to be told, by member and torrent.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn spent(&self, most: u32) -> rusqlite::Result<Vec<(u64, u64)>> {
        let sql = "SELECT member, torrent FROM spent ORDER BY member, torrent LIMIT ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_map([most], |row| Ok((uint(row.get(0)?), uint(row.get(1)?))))?.collect()
    }
}

#[cfg(test)]
mod tests {
    use karuta_bittorrent::Event;

    use crate::change::{Change, TokenChange};
    use crate::database::{Entry, Limits};
    use crate::tests::{LIMITS, books, credit, entry, reader};

    const TOKEN: Change = Change::Token(TokenChange { exists: true, member: 1, torrent: 1 });

    fn announce(event: Event, downloaded: u64, has_token: bool) -> Entry {
        let left = Some(if event == Event::Completed { 0 } else { 10 });
        Entry { left, has_token, ..entry(event, 0, downloaded, 0) }
    }

    #[test]
    fn a_finished_download_uses_its_token_up_once() {
        let (folder, mut books) = books();
        books.change(&[TOKEN], false).unwrap();
        let mut write = |entry| books.write(&[entry], &LIMITS).unwrap().spent;
        assert_eq!(write(announce(Event::Started, 0, true)), []);
        assert_eq!(write(announce(Event::None, 50, true)), []);
        assert_eq!(write(announce(Event::Completed, 90, true)), [(1, 1)]);
        assert_eq!(write(announce(Event::Completed, 95, true)), []);
        let tokens = |folder| reader(folder).page(1).unwrap().tokens;
        assert!(tokens(&folder).is_empty());
        assert_eq!(reader(&folder).spent(9).unwrap(), [(1, 1)]);
        assert_eq!(credit(&folder).1, 95, "what is credited is not decided here");
        // The site's database still has it; later, the site gives another one.
        books.change(&[TOKEN], true).unwrap();
        assert_eq!((tokens(&folder).len(), books.count_spent().unwrap()), (0, 1));
        books.change(&[TOKEN], false).unwrap();
        assert_eq!((tokens(&folder), books.count_spent().unwrap()), (vec![1], 0));
    }

    #[test]
    fn what_the_site_has_been_told_is_forgotten() {
        let (folder, mut books) = books();
        books.write(&[announce(Event::Started, 0, true)], &LIMITS).unwrap();
        books.write(&[announce(Event::Completed, 9, true)], &LIMITS).unwrap();
        assert_eq!(books.told(&[(2, 2)]).unwrap(), 1);
        assert_eq!(books.told(&[(1, 1)]).unwrap(), 0);
        assert_eq!(reader(&folder).spent(9).unwrap(), []);
        books.change(&[TOKEN], true).unwrap();
        assert_eq!(reader(&folder).page(1).unwrap().tokens, [1]);
    }

    #[test]
    fn without_a_callback_tokens_stay() {
        let (folder, mut books) = books();
        books.change(&[TOKEN], false).unwrap();
        let limits = Limits { spends_tokens: false, ..LIMITS };
        for one in [announce(Event::Started, 0, true), announce(Event::Completed, 9, true)] {
            books.write(&[one], &limits).unwrap();
        }
        assert_eq!(reader(&folder).page(1).unwrap().tokens, [1]);
        assert_eq!(books.count_spent().unwrap(), 0);
    }
}

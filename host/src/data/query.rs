//! Lists that a site's database has.

use karuta_accounts::{Address, select};

use super::definition::Query;
use crate::config::DataFormat;

impl Query {
    /// Asks the database, and returns the rows as lines. Takes its time.
    ///
    /// # Errors
    ///
    /// Why there are none, without a part of the database's URL.
    pub fn ask(&self, format: DataFormat, max_size: u64) -> Result<String, String> {
        let address = Address::parse(&String::from_utf8_lossy(self.database.expose()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let has_values = format == DataFormat::Addresses;
        let timeout = self.pace.timeout;
        runtime.block_on(async {
            let rows = select(&address, &self.sql, has_values, max_size);
            match tokio::time::timeout(timeout, rows).await {
                Ok(rows) => rows.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {timeout:?}")),
            }
        })
    }
}

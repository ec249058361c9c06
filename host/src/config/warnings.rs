//! What is accepted, but unusual.

use super::{admin::MIN_TOKEN, schema::Config, secret::Secret};

impl Config {
    /// Returns what is unusual about the secrets, each with its path in the configuration.
    #[must_use]
    pub fn warnings(&self) -> Vec<(String, String)> {
        let mut warnings = Vec::new();
        if self.admin.token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN) {
            let said = format!("shorter than {MIN_TOKEN} bytes, and so easier to guess");
            warnings.push(("admin.token".to_owned(), said));
        }
        warnings.extend(self.secrets().into_iter().filter_map(|(path, secret)| {
            let file = secret.exposed_file()?.display();
            Some((path, format!("every user can read `{file}`, expected a mode such as 0640")))
        }));
        if self.swarms.share.is_some() {
            let alone =
                self.udp.iter().zip(0..).filter(|(udp, _)| udp.connection_id_secret.is_none());
            warnings.extend(alone.map(|(_, at)| {
                let said = "missing: nodes that share swarms need the same one, or clients that move \
                            to another node must connect again";
                (format!("udp[{at}].connection_id_secret"), said.to_owned())
            }));
        }
        warnings
    }

    fn secrets(&self) -> Vec<(String, &Secret)> {
        let udp = self.udp.iter().enumerate().filter_map(|(at, udp)| {
            let secret = udp.connection_id_secret.as_ref()?;
            Some((format!("udp[{at}].connection_id_secret"), secret))
        });
        let token = self.admin.token.iter().map(|token| ("admin.token".to_owned(), token));
        let tokens = self.admin.tokens.iter().enumerate();
        let tokens = tokens.map(|(at, one)| (format!("admin.tokens[{at}].token"), &one.token));
        let headers = self.policies.iter().enumerate().flat_map(|(at, policy)| {
            policy.data.iter().flat_map(move |(name, source)| {
                source.headers.iter().map(move |(header, secret)| {
                    (format!("policies[{at}].data.{name}.headers.{header}"), secret)
                })
            })
        });
        let share = self.swarms.share.iter().flat_map(|share| &share.password);
        let share = share.map(|password| ("swarms.share.password".to_owned(), password));
        let database = self.accounts.iter().flat_map(|accounts| &accounts.database);
        let database = database.map(|url| ("accounts.database".to_owned(), url));
        let torrust = self.admin.torrust.iter();
        let torrust = torrust.map(|door| ("admin.torrust.token".to_owned(), &door.token));
        let gazelle = self.admin.gazelle.iter().flat_map(|door| {
            let report = door.report_password.iter();
            let report = report.map(|password| ("admin.gazelle.report_password", password));
            [("admin.gazelle.password", &door.password)].into_iter().chain(report)
        });
        let gazelle = gazelle.map(|(path, password)| (path.to_owned(), password));
        let unit3d = self.admin.unit3d.iter();
        let unit3d = unit3d.map(|door| ("admin.unit3d.key".to_owned(), &door.key));
        let admin = token.chain(tokens).chain(torrust).chain(gazelle).chain(unit3d);
        udp.chain(admin).chain(share).chain(database).chain(headers).collect()
    }
}

//! The settings that switch notices on or off.

use std::str::FromStr;

use process::{Reader, Settings};
use store::Notice;

/// The kinds of notices to send. By default, all are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notices {
    password_changed: Switch,
    email_changed: Switch,
    session_reused: Switch,
    new_network: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("expected `on` or `off`"),
        }
    }
}

impl Notices {
    /// Whether notices of this kind are sent.
    pub(crate) fn wants(self, notice: Notice) -> bool {
        let switch = match notice {
            Notice::PasswordChanged => self.password_changed,
            Notice::EmailChangeRequested | Notice::EmailChanged => self.email_changed,
            Notice::SessionReused => self.session_reused,
            Notice::NewNetwork => self.new_network,
        };
        switch == Switch::On
    }
}

impl Settings for Notices {
    /// Reads `NOTICE_PASSWORD_CHANGED`, `NOTICE_EMAIL_CHANGED`, `NOTICE_SESSION_REUSED` and
    /// `NOTICE_NEW_NETWORK`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let password_changed = reader.optional("NOTICE_PASSWORD_CHANGED", Switch::On);
        let email_changed = reader.optional("NOTICE_EMAIL_CHANGED", Switch::On);
        let session_reused = reader.optional("NOTICE_SESSION_REUSED", Switch::On);
        let new_network = reader.optional("NOTICE_NEW_NETWORK", Switch::On);
        Some(Self {
            password_changed: password_changed?,
            email_changed: email_changed?,
            session_reused: session_reused?,
            new_network: new_network?,
        })
    }
}

#[cfg(test)]
mod tests {
    use process::Env;

    use super::*;

    #[test]
    fn each_notice_has_its_own_switch() {
        let all = [
            ("NOTICE_PASSWORD_CHANGED", &[Notice::PasswordChanged][..]),
            ("NOTICE_EMAIL_CHANGED", &[Notice::EmailChangeRequested, Notice::EmailChanged]),
            ("NOTICE_SESSION_REUSED", &[Notice::SessionReused]),
            ("NOTICE_NEW_NETWORK", &[Notice::NewNetwork]),
        ];
        let default = Env::default().settings::<Notices>().unwrap();
        for (off, switched) in all {
            let notices = Env::from_iter([(off, "off")]).settings::<Notices>().unwrap();
            for notice in all.iter().flat_map(|(_, kinds)| kinds.iter()) {
                assert!(default.wants(*notice));
                assert_eq!(notices.wants(*notice), !switched.contains(notice), "{off} {notice:?}");
            }
        }
        assert!(Env::from_iter([("NOTICE_NEW_NETWORK", "no")]).settings::<Notices>().is_err());
    }
}

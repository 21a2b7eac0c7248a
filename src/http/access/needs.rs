//! Which role a route needs. The routes say it themselves, in [`table`](crate::http::table).

use crate::config::Role;

/// What somebody must be to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: health, and what the log-in page is made of.
    Nothing,
    /// To be known.
    Name,
    /// To be more than an adapter.
    Viewer,
    /// To be the adapter of the system in the path, or more than an adapter.
    ViewerOrItself,
    /// To be an operator, or more.
    Operator,
    /// To be an admin.
    Admin,
    /// To be the adapter of the system in the path, or an admin.
    Itself,
    /// To be an adapter, or an admin. The route looks itself whose messages they are.
    Adapter,
}

impl Needs {
    /// Whether a role is enough, at a path about this system.
    #[must_use]
    pub fn allow(self, role: &Role, system: Option<&str>) -> bool {
        let itself = matches!(role, Role::Adapter(own) if Some(own.as_str()) == system);
        match (self, role) {
            (Self::Nothing | Self::Name, _) | (_, Role::Admin) => true,
            (Self::Viewer | Self::ViewerOrItself, Role::Viewer | Role::Operator) | (Self::Operator, Role::Operator) => true,
            (Self::ViewerOrItself | Self::Itself, Role::Adapter(_)) => itself,
            (Self::Adapter, Role::Adapter(_)) => true,
            (Self::Viewer | Self::Operator | Self::Admin, Role::Adapter(_))
            | (Self::Operator | Self::Admin | Self::Itself | Self::Adapter, Role::Viewer)
            | (Self::Admin | Self::Itself | Self::Adapter, Role::Operator) => false,
        }
    }

    /// The roles that are enough, for whoever has another one.
    #[must_use]
    pub const fn named(self) -> &'static str {
        match self {
            Self::Nothing | Self::Name => "any role",
            Self::Viewer => "viewer, operator or admin",
            Self::ViewerOrItself => "viewer, operator, admin, or adapter of that system",
            Self::Operator => "operator or admin",
            Self::Admin => "admin",
            Self::Itself => "adapter of that system, or admin",
            Self::Adapter => "adapter or admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what() {
        let roles = ["adapter:bms", "adapter:oem", "viewer", "operator", "admin"].map(|role| role.parse::<Role>().unwrap());
        let may = |needs: Needs| roles.each_ref().map(|role| u8::from(needs.allow(role, Some("bms"))));
        assert_eq!(may(Needs::Nothing), [1, 1, 1, 1, 1]);
        assert_eq!(may(Needs::Name), [1, 1, 1, 1, 1]);
        assert_eq!(may(Needs::Viewer), [0, 0, 1, 1, 1]);
        assert_eq!(may(Needs::ViewerOrItself), [1, 0, 1, 1, 1]);
        assert_eq!(may(Needs::Operator), [0, 0, 0, 1, 1]);
        assert_eq!(may(Needs::Admin), [0, 0, 0, 0, 1]);
        assert_eq!(may(Needs::Itself), [1, 0, 0, 0, 1]);
        assert_eq!(may(Needs::Adapter), [1, 1, 0, 0, 1]);
        assert!(!Needs::Itself.allow(&roles[0], None), "a path about no system is about none of ours");
    }
}

//! Finds the function for a request.

use std::collections::BTreeMap;

use http::Method;
use template::{Route, Template};

/// The routes of an API.
///
/// A literal segment takes precedence over a parameter (`{id}`), a parameter over a greedy parameter (`{proxy+}`), and
/// a route with a method over a route with `ANY`.
#[derive(Debug, Default)]
pub struct Routes {
    by_method: BTreeMap<String, matchit::Router<Target>>,
    any: matchit::Router<Target>,
}

#[derive(Clone, Debug)]
struct Target {
    key: String,
    function: String,
}

/// The route that a request matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The route key: `GET /admin/users/{id}`.
    pub key: String,
    /// The function's name.
    pub function: String,
    /// The values of the path's parameters.
    pub parameters: BTreeMap<String, String>,
}

/// A route of the template cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the route {key}: {problem}")]
pub struct RouteError {
    /// The route key.
    pub key: String,
    /// The reason.
    pub problem: String,
}

impl Routes {
    /// The routes of a template.
    ///
    /// # Errors
    /// When two routes are the same, or an HTTP API would refuse a path.
    pub fn of(template: &Template) -> Result<Self, RouteError> {
        let mut routes = Self::default();
        for function in &template.functions {
            for route in &function.routes {
                routes.add(route, &function.name)?;
            }
        }
        Ok(routes)
    }

    fn add(&mut self, route: &Route, function: &str) -> Result<(), RouteError> {
        let target = Target { key: route.key(), function: function.to_owned() };
        let router = match &route.method {
            Some(method) => self.by_method.entry(method.to_string()).or_default(),
            None => &mut self.any,
        };
        router
            .insert(pattern(&route.path), target)
            .map_err(|error| RouteError { key: route.key(), problem: error.to_string() })?;
        Ok(())
    }

    /// The route that a request matches. `path` must already be decoded.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<Matched> {
        let found = self
            .by_method
            .get(method.as_str())
            .and_then(|router| router.at(path).ok())
            .or_else(|| self.any.at(path).ok())?;
        Some(Matched {
            key: found.value.key.clone(),
            function: found.value.function.clone(),
            parameters: found.params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        })
    }
}

/// The path in the router's notation, in which `{proxy+}` is `{*proxy}`.
fn pattern(path: &str) -> String {
    match path.strip_suffix("+}").and_then(|path| path.rsplit_once('{')) {
        Some((front, name)) => format!("{front}{{*{name}}}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(keys: &[&str]) -> Result<Routes, RouteError> {
        let mut routes = Routes::default();
        for key in keys {
            let (method, path) = key.split_once(' ').unwrap();
            let method = (method != "ANY").then(|| method.parse().unwrap());
            routes.add(&Route { method, path: path.to_owned() }, key)?;
        }
        Ok(routes)
    }

    const KEYS: [&str; 7] = [
        "GET /users/{id}",
        "GET /users/me",
        "DELETE /users/{id}",
        "GET /users/{id}/roles",
        "GET /files/{proxy+}",
        "ANY /files/list",
        "ANY /any/{proxy+}",
    ];

    #[test]
    fn the_most_specific_route_is_found() {
        let routes = routes(&KEYS).unwrap();
        for (method, path, expected) in [
            ("GET", "/users/me", Some("GET /users/me")),
            ("GET", "/users/7", Some("GET /users/{id}")),
            ("DELETE", "/users/me", Some("DELETE /users/{id}")),
            ("GET", "/users/7/roles", Some("GET /users/{id}/roles")),
            ("GET", "/files/a/b", Some("GET /files/{proxy+}")),
            ("PUT", "/files/list", Some("ANY /files/list")),
            ("PATCH", "/any/a/b", Some("ANY /any/{proxy+}")),
            ("HEAD", "/users/me", None),
            ("POST", "/users/me", None),
            ("TRACE", "/users/me", None),
            ("GET", "/users/", None),
            ("GET", "/users", None),
            ("GET", "/users/me/", None),
            ("GET", "//users/me", None),
            ("GET", "/Users/me", None),
            ("GET", "/users/../users/me", None),
            ("GET", "", None),
            ("OPTIONS", "*", None),
        ] {
            let found = routes.find(&method.parse().unwrap(), path);
            assert_eq!(found.map(|found| found.key).as_deref(), expected, "{method} {path}");
        }
    }

    #[test]
    fn path_parameters_are_extracted() {
        let routes = routes(&KEYS).unwrap();
        let parameters = |path| routes.find(&Method::GET, path).unwrap().parameters;
        assert_eq!(parameters("/users/a b"), BTreeMap::from([("id".into(), "a b".into())]));
        assert_eq!(parameters("/files/a/b"), BTreeMap::from([("proxy".into(), "a/b".into())]));
        assert_eq!(parameters("/users/me"), BTreeMap::new());
    }

    #[test]
    fn routes_that_differ_only_in_parameter_names_are_refused() {
        let error = routes(&["GET /a/{x}", "GET /a/{y}"]).unwrap_err();
        assert_eq!(error.key, "GET /a/{y}");
    }

    proptest! {
        #[test]
        fn a_parameter_matches_any_single_segment(id in "[^/]+") {
            let routes = routes(&["GET /users/{id}/roles"]).unwrap();
            let found = routes.find(&Method::GET, &format!("/users/{id}/roles")).unwrap();
            prop_assert_eq!(&found.parameters["id"], &id);
        }

        #[test]
        fn a_fixed_path_matches_only_itself(path in "/\\PC*") {
            let routes = routes(&["GET /auth/me"]).unwrap();
            prop_assert_eq!(routes.find(&Method::GET, &path).is_some(), path == "/auth/me");
        }
    }
}

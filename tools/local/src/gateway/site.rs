//! The dev server's own pages: an overview at `/`, and the API reference at `/docs`.
//!
//! Swagger UI renders the reference. A crate contains the ZIP archive of its release, so the page loads nothing from
//! elsewhere.

use std::io::{Cursor, Read};
use std::path::PathBuf;

use askama::Template as _;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use template::Template;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::{CompressionMethod, ZipArchive};

use crate::binaries::Description;

/// The path of the API reference.
pub(crate) const REFERENCE: &str = "/docs";

/// React, which Swagger UI uses, sets `style` attributes through the object model, so no inline style needs permission.
/// Swagger UI's style sheet contains its icons as `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The pages of one dev server.
#[derive(Debug)]
pub struct Site {
    index: String,
    document: PathBuf,
}

/// The overview.
#[derive(askama::Template)]
#[template(path = "index.html")]
struct Index<'a> {
    routes: Vec<Row<'a>>,
}

/// A route in the overview.
struct Row<'a> {
    method: &'a str,
    path: &'a str,
    access: &'a str,
    function: &'a str,
}

impl Row<'_> {
    /// Whether a browser can open the route: it requires no login, and its path has no parameters.
    fn is_link(&self) -> bool {
        self.method == "GET" && self.access == "anyone" && !self.path.contains('{')
    }
}

impl Site {
    /// The pages for the routes of `template`. `descriptions` say who may call them.
    ///
    /// The reference shows the API description in the file `document`.
    ///
    /// # Errors
    /// When the overview cannot be rendered.
    pub fn new(
        template: &Template,
        descriptions: &[Description],
        document: PathBuf,
    ) -> Result<Self, askama::Error> {
        let mut routes = Vec::new();
        for function in &template.functions {
            let description = descriptions.iter().find(|it| it.name == function.name);
            let access = description.map_or("", |it| &it.access);
            routes.extend(function.routes.iter().map(|route| Row {
                method: route.method.as_ref().map_or("ANY", Method::as_str),
                path: &route.path,
                access,
                function: &function.name,
            }));
        }
        routes.sort_by_key(|row| (row.path, row.method));
        Ok(Self { index: Index { routes }.render()?, document })
    }

    /// Whether `path` belongs to these pages. There may be no page at `path`.
    pub(super) fn contains(path: &str) -> bool {
        path == "/"
            || path
                .strip_prefix(REFERENCE)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether `path` leads to a document, to which a page of another site may link.
    pub(super) fn is_document(path: &str) -> bool {
        path == "/" || matches!(path.strip_prefix(REFERENCE), Some("" | "/"))
    }

    /// The page at `path`, if there is one. The caller must have checked the host of the request.
    pub(super) async fn page(&self, request: &Parts, path: &str) -> Option<Response<Bytes>> {
        if request.method != Method::GET {
            return None;
        }
        let file = match path.strip_prefix(REFERENCE) {
            None => File::plain(HTML, self.index.clone()),
            Some("" | "/") => File::plain(HTML, include_str!("site/reference.html")),
            Some("/index.css") => File::plain(CSS, include_str!("site/index.css")),
            Some("/reference.css") => File::plain(CSS, include_str!("site/reference.css")),
            Some("/reference.js") => File::plain(JAVASCRIPT, include_str!("site/reference.js")),
            Some("/swagger-ui.css") => File::compressed(CSS, swagger_ui_file("swagger-ui.css")?),
            Some("/swagger-ui-bundle.js") => {
                File::compressed(JAVASCRIPT, swagger_ui_file("swagger-ui-bundle.js")?)
            }
            Some("/openapi.yaml") => {
                // Read again for each request, so that a reload shows edits.
                let document = tokio::fs::read_to_string(&self.document).await.ok()?;
                let host = request.headers.get(HOST)?.to_str().ok()?;
                File::plain("application/yaml", with_server(&document, &format!("http://{host}")))
            }
            Some(_) => return None,
        };
        Some(file.into_response())
    }
}

/// A file of the site.
struct File {
    media_type: &'static str,
    body: Bytes,
    is_compressed: bool,
}

impl File {
    fn plain(media_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { media_type, body: body.into(), is_compressed: false }
    }

    /// A file in gzip format.
    fn compressed(media_type: &'static str, body: Bytes) -> Self {
        Self { media_type, body, is_compressed: true }
    }

    fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        let encoding = self.is_compressed.then_some((CONTENT_ENCODING, "gzip"));
        let headers = [
            (CONTENT_TYPE, self.media_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in headers.into_iter().chain(encoding) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A file of Swagger UI's distribution in gzip format.
///
/// The archive and gzip use the same compression (DEFLATE) and checksum, so the file need not be decompressed.
fn swagger_ui_file(name: &str) -> Option<Bytes> {
    /// "gzip, DEFLATE, no flags, no time, no hints, unknown system" (RFC 1952, section 2.3).
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).ok()?;
    let suffix = format!("/dist/{name}");
    let is_named = |index: &usize| {
        let path = archive.name_for_index(*index).and_then(Result::ok);
        path.is_some_and(|path| path.ends_with(&suffix))
    };
    let index = (0..archive.len()).find(is_named)?;
    let mut file = archive.by_index_raw(index).ok()?;
    if file.compression() != CompressionMethod::DEFLATE {
        return None;
    }
    let mut body = HEADER.to_vec();
    file.read_to_end(&mut body).ok()?;
    body.extend(file.crc32().to_le_bytes());
    body.extend(u32::try_from(file.size()).ok()?.to_le_bytes());
    Some(body.into())
}

/// Replaces the servers of an API description with the server at `url`.
fn with_server(document: &str, url: &str) -> String {
    let mut result = String::new();
    let mut in_servers = false;
    for line in document.split_inclusive('\n') {
        in_servers = if in_servers {
            line.starts_with([' ', '-', '#', '\r', '\n'])
        } else {
            line.starts_with("servers:")
        };
        if !in_servers {
            result.push_str(line);
        }
    }
    result + &format!("servers:\n  - url: {url}\n")
}

#[cfg(test)]
mod tests {
    use template::project::Project;

    use super::*;

    #[test]
    fn only_the_root_and_paths_below_docs_belong_to_the_site() {
        for (path, own) in [
            ("/", true),
            ("/docs", true),
            ("/docs/", true),
            ("/docs/nothing", true),
            ("/docsify", false),
            ("/index.html", false),
            ("//", false),
            ("", false),
        ] {
            assert_eq!(Site::contains(path), own, "{path}");
        }
    }

    #[test]
    fn only_the_servers_of_the_description_change() {
        let document = "openapi: 3.1.0\nservers:\n  - url: \"{address}\"\n    variables:\n      \
                        address: { default: x }\n\ntags: []\npaths:\n  /servers:\n    get: {}\n";
        assert_eq!(
            with_server(document, "http://127.0.0.1:9000"),
            "openapi: 3.1.0\ntags: []\npaths:\n  /servers:\n    get: {}\nservers:\n  \
             - url: http://127.0.0.1:9000\n"
        );
        let without = with_server("openapi: 3.1.0\n", "http://a");
        assert_eq!(without, "openapi: 3.1.0\nservers:\n  - url: http://a\n");
        let project = Project::here();
        let document = std::fs::read_to_string(project.root().join("openapi.yaml")).unwrap();
        let served = with_server(&document, "http://127.0.0.1:1");
        let servers = served.lines().filter(|line| line.starts_with("servers:")).count();
        assert_eq!(servers, 1);
        assert!(!served.contains("{address}") && served.contains("\npaths:\n"));
    }

    #[test]
    fn the_files_of_swagger_ui_are_in_the_archive() {
        for name in ["swagger-ui.css", "swagger-ui-bundle.js"] {
            let file = swagger_ui_file(name).unwrap();
            assert!(file.starts_with(&[0x1f, 0x8b, 8]) && file.len() > 10_000, "{name}");
        }
        assert_eq!(swagger_ui_file("nothing.js"), None);
    }

    #[test]
    fn the_overview_lists_the_routes_of_the_template_with_their_access() {
        let template = Template::parse(
            "
Resources:
  AFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/a
      Events:
        One: { Type: HttpApi, Properties: { Method: GET, Path: '/a/{id}' } }
        Two: { Type: HttpApi, Properties: { Method: GET, Path: /a } }
  BFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/b
      Events: { One: { Type: HttpApi, Properties: { Method: POST, Path: /b } } }
",
        )
        .unwrap();
        let described = |name: &str, access: &str| Description {
            name: name.to_owned(),
            endpoints: Vec::new(),
            access: access.to_owned(),
        };
        let descriptions = [described("a", "anyone"), described("b", "checked, role <admin>")];
        let site = Site::new(&template, &descriptions, PathBuf::new()).unwrap();
        for part in [
            r#"<a href="/docs">"#,
            r#"<td><code><a href="/a">/a</a></code></td>"#,
            "<td><code>/a/{id}</code></td>",
            "<td>POST</td>",
            "role &#60;admin&#62;",
        ] {
            assert!(site.index.contains(part), "{part}: {}", site.index);
        }
    }
}

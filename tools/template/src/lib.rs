//! The code that all tools share: the template as data, the folders of the checkout, the running dev server,
//! child processes and terminal output.

pub mod command_line;
pub mod process;
pub mod project;
mod sam;
pub mod state;
pub mod ui;

pub use sam::{
    CorsConfiguration, Function, Route, Setting, StreamSource, Table, Template, TemplateError,
    resource,
};

//! What all tools know of the checkout: the template as data, folders, the running dev server; and how they
//! start programs and write to the terminal.

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

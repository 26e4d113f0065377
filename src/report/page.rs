//! One page of HTML that needs nothing else: tables, figures and words.

use super::{
    figure::Figure,
    table::{Table, html_escaped},
};
use crate::error::Result;

/// A page in the making.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    contents: String,
    body: String,
}

const STYLE: &str = include_str!("page.css");

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Page { title: title.into(), contents: String::new(), body: String::new() }
    }

    /// Begins a section that the contents list.
    pub fn section(&mut self, id: &str, heading: &str) {
        let heading = html_escaped(heading);
        self.contents += &format!("<li><a href=\"#{id}\">{heading}</a></li>\n");
        self.body += &format!("<h2 id=\"{id}\">{heading}</h2>\n");
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.body += &format!("<p>{}</p>\n", html_escaped(text));
    }

    /// Adds a list.
    pub fn list(&mut self, entries: &[String]) {
        let entries: String =
            entries.iter().map(|entry| format!("<li>{}</li>\n", html_escaped(entry))).collect();
        self.body += &format!("<ul>\n{entries}</ul>\n");
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.body += &table.html();
    }

    /// Adds a figure.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn figure(&mut self, figure: &Figure) -> Result<()> {
        let (id, title) = (&figure.name, html_escaped(&figure.title));
        self.body += &format!(
            "<figure class=\"plot\" id=\"{id}\">\n{}\n<figcaption><b>{title}.</b> {}</figcaption>\n</figure>\n",
            figure.svg()?.trim(),
            html_escaped(&figure.caption)
        );
        Ok(())
    }

    /// The document.
    pub fn html(&self) -> String {
        let title = html_escaped(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<nav><ul>\n{}</ul></nav>\n{}</main>\n\
             </body>\n</html>\n",
            self.contents, self.body
        )
    }
}

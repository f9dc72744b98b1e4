//! XML as a tree of metadata: what EMPAD and TIA write beside their numbers. No entities beyond the five of the
//! standard, no includes, nothing that expands.

use crate::io::meta::Meta;

/// Elements inside elements.
const MAX_DEPTH: usize = 64;

/// The first element of the text, as (name, content). Attributes become entries `@name`; an element without children or
/// attributes is its text. None when the text is no XML.
pub(crate) fn parse(text: &str) -> Option<(String, Meta)> {
    let mut p = Parser { rest: text };
    p.skip_prolog();
    p.element(0)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// Leaves out blanks, `<?…?>`, `<!--…-->` and `<!…>`.
    fn skip_prolog(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            let end = if self.rest.starts_with("<?") {
                "?>"
            } else if self.rest.starts_with("<!--") {
                "-->"
            } else if self.rest.starts_with("<!") {
                ">"
            } else {
                return;
            };
            match self.rest.find(end) {
                Some(at) => self.rest = &self.rest[at + end.len()..],
                None => self.rest = "",
            }
        }
    }

    fn element(&mut self, depth: usize) -> Option<(String, Meta)> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.rest = self.rest.strip_prefix('<')?;
        let name = self.name()?;
        let mut entries = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix("/>") {
                self.rest = rest;
                return Some((name.to_string(), Meta::Map(entries)));
            }
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                break;
            }
            let key = self.name()?;
            self.rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
            let quote = self.rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
            let (value, rest) = self.rest[1..].split_once(quote)?;
            self.rest = rest;
            entries.push((format!("@{key}"), Meta::guess_number(&plain(value))));
        }
        let mut text = String::new();
        loop {
            let (before, _) = self.rest.split_once('<')?;
            text.push_str(&plain(before));
            self.rest = &self.rest[before.len()..];
            if let Some(rest) = self.rest.strip_prefix("</") {
                self.rest = rest;
                if self.name()? != name {
                    return None;
                }
                self.rest = self.rest.trim_start().strip_prefix('>')?;
                break;
            }
            if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
                let (data, rest) = rest.split_once("]]>")?;
                text.push_str(data);
                self.rest = rest;
            } else if self.rest.starts_with("<!") || self.rest.starts_with("<?") {
                self.skip_prolog();
            } else {
                entries.push(self.element(depth + 1)?);
            }
        }
        let text = text.trim();
        if entries.is_empty() {
            return Some((name.to_string(), Meta::guess_number(text)));
        }
        if !text.is_empty() {
            entries.push(("text".into(), Meta::guess_number(text)));
        }
        Some((name.to_string(), Meta::Map(entries)))
    }

    fn name(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| c.is_whitespace() || "/>=<\"'".contains(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }
}

/// Text with the five entities replaced.
fn plain(text: &str) -> String {
    if !text.contains('&') {
        return text.to_string();
    }
    let five = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    five.iter().fold(text.to_string(), |t, (entity, c)| t.replace(entity, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_text_become_a_tree() {
        let xml = "<?xml version='1.0'?><!-- a --><r n=\"x &amp; y\"><a>1.5</a><b u='m'>two</b><c/><d><![CDATA[<3>]]></d></r>";
        let (name, tree) = parse(xml).unwrap();
        assert_eq!((name.as_str(), tree.text("@n")), ("r", Some("x & y")));
        assert_eq!(tree.number("a"), Some(1.5));
        assert_eq!((tree.text("b/text"), tree.text("b/@u")), (Some("two"), Some("m")));
        assert_eq!(tree.text("d"), Some("<3>"));
        for n in 0..xml.len() {
            assert!(parse(&xml[..n]).is_none(), "{n}");
        }
        assert!(parse(&"<a>".repeat(100_000)).is_none());
    }
}

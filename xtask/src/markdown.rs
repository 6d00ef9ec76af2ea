//! What the documents link to, and the headings that can be linked to.

use std::collections::HashMap;
use std::ops::Range;

use pulldown_cmark::{BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// A link or a picture.
pub(crate) struct Link {
    /// From 1.
    pub(crate) line: usize,
    /// Its bytes, from the first bracket to the last one; in HTML those of the address.
    pub(crate) span: Range<usize>,
    pub(crate) label: String,
    /// None for a reference that is nowhere defined.
    pub(crate) target: Option<String>,
}

/// The links and pictures of a document, those in HTML too.
pub(crate) fn links(text: &str) -> Vec<Link> {
    let line_at = |offset: usize| text[..offset].matches('\n').count() + 1;
    let mut undefined = Vec::new();
    let mut on_broken = |link: BrokenLink<'_>| -> Option<(CowStr<'_>, CowStr<'_>)> {
        // A lone `[word]` is usually just brackets; `[text][label]` is always meant as a link.
        if link.link_type == LinkType::Reference {
            let line = line_at(link.span.start);
            let label = link.reference.to_string();
            undefined.push(Link { line, span: link.span, label, target: None });
        }
        None
    };
    let parser = Parser::new_with_broken_link_callback(text, options(), Some(&mut on_broken));
    let mut links = Vec::new();
    for (event, span) in parser.into_offset_iter() {
        if let Event::Start(Tag::Link { dest_url, id, .. } | Tag::Image { dest_url, id, .. }) =
            event
        {
            let (label, target) = (id.to_string(), Some(dest_url.to_string()));
            links.push(Link { line: line_at(span.start), span, label, target });
        } else if let Event::Html(html) | Event::InlineHtml(html) = event {
            links.extend(addresses(&html).map(|address| {
                let span = span.start + address.start..span.start + address.end;
                let (label, target) = (String::new(), Some(html[address].to_owned()));
                Link { line: line_at(span.start), span, label, target }
            }));
        }
    }
    links.extend(undefined);
    links
}

/// Where the addresses stand in a piece of HTML.
pub(crate) fn addresses(html: &str) -> impl Iterator<Item = Range<usize>> {
    ["href=\"", "src=\"", "srcset=\""].into_iter().flat_map(move |attribute| {
        html.match_indices(attribute).filter_map(move |(at, _)| {
            // `src` ends no other attribute's name.
            let before = html[..at].chars().next_back();
            let is_whole = before.is_none_or(|c| c.is_ascii_whitespace());
            let from = at + attribute.len();
            let to = from + html[from..].find('"')?;
            is_whole.then_some(from..to)
        })
    })
}

/// `file` as seen from the directory of `from`; none when it climbs out of the workspace.
pub(crate) fn join(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if file.starts_with('/') {
        return None;
    }
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document's headings, as forges make them: lower case, blanks to `-`, other
/// punctuation dropped, `-1`, `-2`, ... behind a repeated one.
pub(crate) fn headings(text: &str) -> Vec<String> {
    let mut slugs = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, options()) {
        if let Event::Start(Tag::Heading { .. }) = event {
            heading = Some(String::new());
        } else if let Event::End(TagEnd::Heading(_)) = event {
            let slug = slug(&heading.take().unwrap_or_default());
            let count = seen.entry(slug.clone()).or_default();
            slugs.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
            *count += 1;
        } else if let Event::Text(part) | Event::Code(part) = event
            && let Some(heading) = &mut heading
        {
            heading.push_str(&part);
        }
    }
    slugs
}

fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_markdown_and_html_have_their_places() {
        let text =
            "# T\n\n[a](b.md#c) ![d](e.png)\n\n<img alt=\"x\" src=\"f.png\"\n  srcset=\"g.png\">\n";
        let found: Vec<_> = links(text)
            .into_iter()
            .map(|link| (link.line, text[link.span].to_owned(), link.target.unwrap_or_default()))
            .collect();
        let expected = [
            (3, "[a](b.md#c)", "b.md#c"),
            (3, "![d](e.png)", "e.png"),
            (5, "f.png", "f.png"),
            (6, "g.png", "g.png"),
        ];
        assert_eq!(found, expected.map(|(line, text, to)| (line, text.to_owned(), to.to_owned())));
    }

    #[test]
    fn an_address_of_html_is_that_of_a_whole_attribute() {
        let html = "<a data-href=\"no\" href=\"yes\"><p title='src=\"no\"'>";
        let found: Vec<&str> = addresses(html).map(|range| &html[range]).collect();
        assert_eq!(found, ["yes"]);
    }
}

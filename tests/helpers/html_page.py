"""An HTML page, taken apart."""

import html.parser

VOID = ("meta", "img", "input")


class Page(html.parser.HTMLParser):
    """A page's tags, the texts of its headings, terms and table rows, and all its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.text, self.open = [], [], "", []
        self.headings, self.terms = [], {}
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.open
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "h2":
            self.headings.append("")
        elif tag == "dt":
            self.term = ""
        elif tag == "dd":
            self.terms[self.term] = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += text
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += text
        elif "h2" in self.open:
            self.headings[-1] += text
        elif "dt" in self.open:
            self.term += text
        elif "dd" in self.open:
            self.terms[self.term] += text

    def row(self, name):
        return next(row for row in self.rows if row and row[0] == name)

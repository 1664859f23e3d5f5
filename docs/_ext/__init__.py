"""The site made from the code. `site` is the Sphinx extension; every other file is pure functions that return Markdown."""

"""The documentation site: what its build adds to the Markdown files of this repository.

Reference pages are made from the code while the site is built, so that none can be out of date. Links that lead out of
`docs/` become pages of the site as well, and diagrams become pictures: a browser loads nothing from elsewhere.
"""

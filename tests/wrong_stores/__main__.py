"""Writes docs/wrong-stores.md, and the tables of docs/contract.md."""

from tests.wrong_stores.pages import PAGES

for page, text in PAGES.items():
    page.write_text(text(), encoding="utf-8")

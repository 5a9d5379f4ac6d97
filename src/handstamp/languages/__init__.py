"""The languages that people are answered in: which there are, who gets which, and their catalogues of texts.

English is written in the code. The other languages are catalogues (gettext), `*.po` in this folder, which are read when they are
first needed. See docs/how-to/languages-and-brand.md.
"""

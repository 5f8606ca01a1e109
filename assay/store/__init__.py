"""The preference store: comparisons, who is to judge them, and what was judged.

SQLite by default, PostgreSQL by URL. Knows nothing of torch, of HTTP, or of pages.
"""

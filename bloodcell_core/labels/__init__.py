"""Reviewed labels: the verdicts that people gave, and overlays made from them for repeatable trainings.

    verdicts.py    what people said of pictures: an append-only list of events, and which of them count
    overlays.py    named, numbered, frozen sets of label changes
    exchange.py    overlays as CSV
    database.py    the tables of both, in SQLite or PostgreSQL

SQLAlchemy takes half a second to import: only `database` imports it at its top, and the others import `database` only
where they use it.
"""

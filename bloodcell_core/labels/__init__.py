"""Reviewed labels: verdicts as they were given, and overlays made of them that a training can be repeated with.

    verdicts.py    what people said of pictures: an append-only list of events, and what of it counts
    overlays.py    named, numbered, frozen sets of label changes
    exchange.py    overlays as CSV
    database.py    the tables that both lie in, SQLite or PostgreSQL

SQLAlchemy takes half a second to import: only `database` imports it at its top, and it only where it is used.
"""

"""Formats in, one dataset out: sources (zip or folder), readers, import, splits, views, demo pictures."""

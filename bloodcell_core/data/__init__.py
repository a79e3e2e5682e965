"""Many formats in, one dataset format out: sources (zip or folder), readers, import, splits, views, demo pictures."""

"""Linear algebra: no model in here."""

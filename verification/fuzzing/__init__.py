"""Malformed and odd inputs, as recipes that can be repeated, and what is allowed."""

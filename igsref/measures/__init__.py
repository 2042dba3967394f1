"""The measures: short functions of a problem or of its geometry."""

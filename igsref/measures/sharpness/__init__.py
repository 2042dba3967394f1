"""Published measures of sharpness: one file per paper, each a function of (model, data)."""

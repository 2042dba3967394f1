"""Routes to the range of the factor: one question, how much of a vector lies in it."""

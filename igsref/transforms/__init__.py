"""Transformations that rewrite a network in other parameters and leave its function alone."""

"""IGS by other routes, each a function f(model, data) -> float for the conformance kit.

    igsref check verification.peers.nngeometry_low_rank:nngeometry_low_rank

A peer gives what it computes, F or its eigenvectors; the form g F⁺ gᵀ is then the same for all.
"""

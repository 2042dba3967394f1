"""Proofs: oracles, adversarial networks and the facts that the library rests on."""

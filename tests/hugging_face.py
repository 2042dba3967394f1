"""A sequence classifier with random weights, for tests; skips them without transformers."""

import pytest
import torch


def bert(size, layers):
    """BERT of so many hidden units and layers on five of eleven tokens, three classes."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=size,
        max_position_embeddings=6,
        num_labels=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config)

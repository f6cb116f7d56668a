"""One module per question that a model can answer."""

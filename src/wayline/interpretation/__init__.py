"""What it means: facets folded from events, and answers to questions with a confidence. Pure."""

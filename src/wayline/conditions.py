"""The condition language (being built): parse, evaluate in Python, compile to SQL."""

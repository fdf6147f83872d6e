"""Texts as tokens: the tokenizer, and digests. Uses common."""

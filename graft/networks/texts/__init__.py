"""Bodies that read texts in their own way: n-grams of bytes, and encoders that others trained."""

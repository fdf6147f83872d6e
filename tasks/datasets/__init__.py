"""Pictures as they lie on disk: layouts, decoding, faults, the card, and the demo. `tasks.prepare` is its door."""

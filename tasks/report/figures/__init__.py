"""The figures of the report, as SVG. Uses results."""

"""The report: one HTML page that stands alone, made from what the evaluation found."""

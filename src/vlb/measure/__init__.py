"""What is said of a trained model: bounds, comparisons, tightness, diagnostics."""

"""Estimators for scikit-learn: a density of tables with gaps, and an imputer that draws from it."""

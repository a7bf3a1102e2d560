"""Mixtures of factor analysers on mapped reals times categoricals: tables with gaps, everything exact."""

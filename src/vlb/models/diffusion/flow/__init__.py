"""The probability-flow ODE as a model of its own: its density, and bounds on its masses of discrete data."""

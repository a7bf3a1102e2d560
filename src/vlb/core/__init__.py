"""The nouns of the family: distributions, conditions, hierarchies and the bound."""

"""The runtime catalogue, where interpreters come from, our bootstraps."""

"""Whole jobs over all other packages: cross-validation, conversion, verification, comparison, the demo.

They take and return plain data, write files whole or not at all, and know nothing of the terminal: the commands and the API call them.
"""

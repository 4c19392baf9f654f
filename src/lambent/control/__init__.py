"""Commands on functions: validate, then write a spec document."""
